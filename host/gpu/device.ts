/**
 * The virtio-gpu device: 2D with EDID (virtio 1.2, 5.7).
 *
 * Each command is answered at once, except one that takes pages away from a reader, which may have to wait for it (see
 * Outcome). TRANSFER_TO_HOST_2D copies nothing, because the picture of a resource is its backing. The reader is notified
 * of what a head shows; there is no screen here.
 */
import { errorText } from "../../common/error-text.ts";
import type { Rectangle } from "../../proto/export.ts";
import { LIMITS } from "../../proto/limits.ts";
import type { Cursor, Scanout } from "../export/source.ts";
import type { GuestMemory } from "../native/guest-memory.ts";
import type { Backing } from "./backing.ts";
import {
  CommandError,
  type ControlCommand,
  type CursorCommand,
  commandName,
  decodeControlCommand,
  decodeCursorCommand,
  encodeConfiguration,
  encodeResponse,
  type GpuResponse,
} from "./commands.ts";
import { Cursors, readCursorImage } from "./cursor.ts";
import type { DisplayMode } from "./display-mode.ts";
import { generateEdid } from "./edid.ts";
import type { SharedMemories } from "./export-source.ts";
import type { GuestWarnings } from "./limits.ts";
import { GPU_LIMITS } from "./limits.ts";
import { type Resource, ResourceTable } from "./resources.ts";

/** The reader of the pictures: the export server. */
export interface PictureReader {
  /**
   * The pages are taken away: every relay that reads them is asked to stop.
   *
   * @returns resolves when all have stopped or their time is over; undefined: there is nothing to wait for
   */
  revoke(resource: number, backing: Backing): Promise<unknown> | undefined;
  scanoutChanged(head: number, scanout: Scanout): void;
  /** @param rectangle in the head's picture */
  damaged(head: number, rectangle: Rectangle): void;
  cursorImageChanged(head: number): void;
  cursorMoved(head: number): void;
}

/** The response to a command, and what it has to wait for before the guest gets it. */
export interface Outcome {
  readonly response: Buffer;
  readonly released?: Promise<unknown> | undefined;
}

export interface GpuOptions {
  /** Connected heads, 1 to MAX_HEADS. */
  readonly heads: number;
  /** Preferred mode of each. */
  readonly mode: DisplayMode;
}

type Result = { readonly response: GpuResponse; readonly released?: Promise<unknown> | undefined };

const NOTHING: Scanout = { resource: 0, rectangle: { x: 0, y: 0, width: 0, height: 0 } };
const OK: GpuResponse = { type: "ok" };

function requireInside({ x, y, width, height }: Rectangle, resource: Resource): void {
  if (x + width <= resource.width && y + height <= resource.height) return;
  throw new CommandError(
    "ERR_INVALID_PARAMETER",
    `${width}x${height} at ${x},${y} is outside resource ${resource.id} of ${resource.width}x${resource.height}`,
  );
}

/** The part of `damage` that `scanout` shows, in the head's coordinates; undefined if there is none. */
function visiblePart(damage: Rectangle, { rectangle }: Scanout): Rectangle | undefined {
  const left = Math.max(damage.x, rectangle.x);
  const top = Math.max(damage.y, rectangle.y);
  const right = Math.min(damage.x + damage.width, rectangle.x + rectangle.width);
  const bottom = Math.min(damage.y + damage.height, rectangle.y + rectangle.height);
  if (left >= right || top >= bottom) return undefined;
  return { x: left - rectangle.x, y: top - rectangle.y, width: right - left, height: bottom - top };
}

export class GpuDevice {
  readonly #options: GpuOptions;
  readonly #memories: SharedMemories;
  readonly #warnings: GuestWarnings;
  readonly #resources = new ResourceTable();
  readonly #scanouts: Scanout[] = new Array<Scanout>(LIMITS.MAX_HEADS).fill(NOTHING);
  readonly #cursors = new Cursors();
  #reader: PictureReader | undefined;
  #memory: GuestMemory | undefined;
  /** Numbers of the memory table's memories. */
  #memoryIds: readonly number[] = [];

  constructor(options: GpuOptions, memories: SharedMemories, warnings: GuestWarnings) {
    this.#options = options;
    this.#memories = memories;
    this.#warnings = warnings;
  }

  setReader(reader: PictureReader): void {
    this.#reader = reader;
  }

  /** Takes a new memory table; resources keep their pages, which are known by file and offset. */
  setMemory(memory: GuestMemory): void {
    this.#memoryIds = this.#memories.register(memory);
    this.#memory = memory;
  }

  resource(id: number): Resource | undefined {
    return this.#resources.get(id);
  }

  /** What the heads show, by head, MAX_HEADS of them. */
  get scanouts(): readonly Scanout[] {
    return this.#scanouts;
  }

  /** The pointers of the heads, by head, MAX_HEADS of them. */
  get cursors(): readonly Cursor[] {
    return this.#cursors.all;
  }

  /** struct virtio_gpu_config, 5.7.4. QEMU replaces the number of scanouts with its own. */
  configuration(): Buffer {
    return encodeConfiguration(this.#options.heads);
  }

  /** Forgets everything the guest made. Readers are notified, but not waited for. */
  reset(): void {
    this.#scanouts.forEach((scanout, head) => {
      if (scanout.resource !== 0) this.#show(head, NOTHING);
    });
    for (const head of this.#cursors.clear()) this.#reader?.cursorImageChanged(head);
    for (const resource of [...this.#resources.all()]) {
      this.#resources.remove(resource);
      void this.#revoke(resource);
    }
  }

  /** Carries out a command of the control queue. Never throws because of what the guest sent. */
  control(command: Buffer): Outcome {
    return this.#respond(command, () => this.#control(decodeControlCommand(command)));
  }

  /** Carries out a command of the cursor queue, 5.7.6.10. Never throws because of what the guest sent. */
  cursor(command: Buffer): Outcome {
    return this.#respond(command, () => {
      this.#cursor(decodeCursorCommand(command));
      return { response: OK };
    });
  }

  #respond(command: Buffer, execute: () => Result): Outcome {
    try {
      const { response, released } = execute();
      return { response: encodeResponse(command, response), released };
    } catch (error) {
      this.#warnings.warn(
        { command: commandName(command), reason: errorText(error) },
        "rejected a command of the guest",
      );
      const name = error instanceof CommandError ? error.error : "ERR_UNSPEC";
      return { response: encodeResponse(command, { type: "error", error: name }) };
    }
  }

  #control(command: ControlCommand): Result {
    switch (command.type) {
      case "getDisplayInfo":
        return { response: { type: "displayInfo", heads: this.#displays() } };
      case "getEdid":
        // Heads that are not connected have one too: QEMU may count more heads than this device.
        return { response: { type: "edid", edid: generateEdid(command.head, this.#options.mode) } };
      case "create":
        this.#resources.create(command);
        return { response: OK };
      case "unref":
        return { response: OK, released: this.#unref(this.#resources.require(command.resource)) };
      case "setScanout":
        this.#setScanout(command.head, command.resource, command.rectangle);
        return { response: OK };
      case "flush":
        this.#flush(this.#resources.require(command.resource), command.rectangle);
        return { response: OK };
      case "transfer":
        this.#checkTransfer(this.#resources.require(command.resource), command.rectangle);
        return { response: OK };
      case "attachBacking":
        this.#attachBacking(this.#resources.require(command.resource), command.ranges);
        return { response: OK };
      case "detachBacking": {
        const resource = this.#resources.require(command.resource);
        this.#resources.detach(resource);
        return { response: OK, released: this.#revoke(resource) };
      }
    }
  }

  #cursor(command: CursorCommand): void {
    const { head, x, y } = command;
    if (command.type === "move") {
      this.#cursors.move(head, x, y);
      this.#reader?.cursorMoved(head);
      return;
    }
    const { resource } = command;
    const image =
      resource === 0 ? undefined : readCursorImage(this.#resources.require(resource), this.#memory);
    this.#cursors.set(head, { x, y, image });
    this.#reader?.cursorImageChanged(head);
  }

  /** The connected heads, side by side. */
  #displays(): readonly Rectangle[] {
    const { heads, mode } = this.#options;
    return Array.from({ length: heads }, (_, head) => ({ x: head * mode.width, y: 0, ...mode }));
  }

  #unref(resource: Resource): Promise<unknown> | undefined {
    this.#scanouts.forEach((scanout, head) => {
      if (scanout.resource === resource.id) this.#show(head, NOTHING);
    });
    this.#resources.remove(resource);
    return this.#revoke(resource);
  }

  #setScanout(head: number, id: number, rectangle: Rectangle): void {
    if (id === 0) {
      this.#show(head, NOTHING);
      return;
    }
    const resource = this.#resources.require(id);
    if (rectangle.width === 0 || rectangle.height === 0) {
      throw new CommandError("ERR_INVALID_PARAMETER", `the scanout of head ${head} is empty`);
    }
    requireInside(rectangle, resource);
    this.#show(head, { resource: id, rectangle });
  }

  #flush(resource: Resource, rectangle: Rectangle): void {
    requireInside(rectangle, resource);
    this.#scanouts.forEach((scanout, head) => {
      if (scanout.resource !== resource.id) return;
      const visible = visiblePart(rectangle, scanout);
      if (visible !== undefined) this.#reader?.damaged(head, visible);
    });
  }

  #checkTransfer(resource: Resource, rectangle: Rectangle): void {
    requireInside(rectangle, resource);
    if (resource.backing !== undefined) return;
    throw new CommandError("ERR_UNSPEC", `resource ${resource.id} has no backing to transfer from`);
  }

  #attachBacking(resource: Resource, ranges: Float64Array): void {
    if (resource.backing !== undefined) {
      throw new CommandError("ERR_UNSPEC", `resource ${resource.id} already has a backing`);
    }
    const runs = this.#memory?.locate(ranges, GPU_LIMITS.BACKING_ENTRIES);
    if (runs === undefined) {
      throw new CommandError(
        "ERR_INVALID_PARAMETER",
        `the backing of resource ${resource.id} reaches outside the guest's memory`,
      );
    }
    this.#resources.attach(resource, ranges, { runs, memoryIds: this.#memoryIds });
  }

  #revoke({ id, backing }: Resource): Promise<unknown> | undefined {
    return backing === undefined ? undefined : this.#reader?.revoke(id, backing);
  }

  #show(head: number, scanout: Scanout): void {
    this.#scanouts[head] = scanout;
    this.#reader?.scanoutChanged(head, scanout);
  }
}
