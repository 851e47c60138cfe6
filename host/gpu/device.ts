/**
 * The virtio-gpu device: 2D with EDID (virtio 1.2, 5.7).
 *
 * Commands come as bytes from the queues and are answered at once; only one that takes pages away from a reader may
 * be held (see Hold). TRANSFER_TO_HOST_2D copies nothing, for the picture of a resource is its backing. What a head
 * shows is told to the reader; there is no screen here.
 */
import { errorText } from "../../common/error-text.ts";
import type { Rectangle } from "../../proto/export.ts";
import type { Hold } from "../export/hold.ts";
import type { Cursor, Scanout } from "../export/source.ts";
import type { GuestMemory } from "../native/guest-memory.ts";
import {
  CONFIG_BYTES,
  CONFIG_NUM_SCANOUTS,
  Command,
  DISPLAY_ONE_BYTES,
  EDID_FIELD_BYTES,
  FLAG_FENCE,
  FLAG_INFO_RING_IDX,
  HEADER_BYTES,
  MAX_HEADS,
  MEM_ENTRY_BYTES,
  Response,
} from "./constants.ts";
import { CURSOR_COMMAND_BYTES, Cursors, readCursorCommand, readCursorImage } from "./cursor.ts";
import type { DisplayMode } from "./display-mode.ts";
import { generateEdid } from "./edid.ts";
import type { GuestWarnings } from "./guest-warnings.ts";
import { GPU_LIMITS } from "./limits.ts";
import { type Backing, CommandError, type Resource, ResourceTable } from "./resources.ts";
import type { SharedMemories } from "./shared-memories.ts";

/** Who reads the pictures: the export server. */
export interface PictureReader {
  /** The pages go away. Whoever reads them is asked to stop; the Hold, if any, ends when all have. */
  revoke(resource: number, backing: Backing): Hold | undefined;
  scanoutChanged(head: number, scanout: Scanout): void;
  /** @param rectangle in the head's picture */
  damaged(head: number, rectangle: Rectangle): void;
  cursorImageChanged(head: number): void;
  cursorMoved(head: number): void;
}

/** The answer to a command, and what has to happen before it is given. */
export interface Outcome {
  readonly response: Buffer;
  readonly hold?: Hold | undefined;
}

export interface GpuOptions {
  /** Connected heads, 1 to MAX_HEADS. */
  readonly heads: number;
  /** Preferred mode of each. */
  readonly mode: DisplayMode;
}

const NOTHING: Scanout = { resource: 0, rectangle: { x: 0, y: 0, width: 0, height: 0 } };

/** @throws CommandError if the driver's part is shorter than the command's struct */
function requireBytes(command: Buffer, bytes: number): void {
  if (command.length < bytes) {
    throw new CommandError(
      Response.ERR_INVALID_PARAMETER,
      `a command of ${command.length} bytes needs ${bytes}`,
    );
  }
}

/** struct virtio_gpu_rect at the start of a command's own fields. */
function readRectangle(command: Buffer): Rectangle {
  return {
    x: command.readUInt32LE(HEADER_BYTES),
    y: command.readUInt32LE(HEADER_BYTES + 4),
    width: command.readUInt32LE(HEADER_BYTES + 8),
    height: command.readUInt32LE(HEADER_BYTES + 12),
  };
}

const isInside = ({ x, y, width, height }: Rectangle, resource: Resource): boolean =>
  x + width <= resource.width && y + height <= resource.height;

function requireInside(rectangle: Rectangle, resource: Resource): void {
  if (isInside(rectangle, resource)) return;
  throw new CommandError(
    Response.ERR_INVALID_PARAMETER,
    `a rectangle reaches outside resource ${resource.id} of ${resource.width}x${resource.height}`,
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

/** The header of an answer: fence, context and ring are the command's own. 5.7.6.7. */
function answer(command: Buffer, type: number, bytes: number = HEADER_BYTES): Buffer {
  const response = Buffer.alloc(bytes);
  response.writeUInt32LE(type, 0);
  if (command.length < HEADER_BYTES) return response;
  const flags = command.readUInt32LE(4) & (FLAG_FENCE | FLAG_INFO_RING_IDX);
  if ((flags & FLAG_FENCE) === 0) return response;
  response.writeUInt32LE(flags, 4);
  command.copy(response, 8, 8, HEADER_BYTES - 3);
  return response;
}

export class GpuDevice {
  readonly #options: GpuOptions;
  readonly #memories: SharedMemories;
  readonly #warnings: GuestWarnings;
  readonly #resources = new ResourceTable();
  readonly #scanouts: Scanout[] = new Array<Scanout>(MAX_HEADS).fill(NOTHING);
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

  /** struct virtio_gpu_config, 5.7.4. The front end puts its own number of scanouts over ours. */
  configuration(): Buffer {
    const configuration = Buffer.alloc(CONFIG_BYTES);
    configuration.writeUInt32LE(this.#options.heads, CONFIG_NUM_SCANOUTS);
    return configuration;
  }

  /** Forgets everything the guest made. Readers are told, and not waited for. */
  reset(): void {
    this.#scanouts.forEach((scanout, head) => {
      if (scanout.resource !== 0) this.#show(head, NOTHING);
    });
    for (const head of this.#cursors.clear()) this.#reader?.cursorImageChanged(head);
    for (const resource of [...this.#resources.all()]) {
      this.#resources.remove(resource);
      this.#revoke(resource)?.end();
    }
  }

  /** Carries out a command of the control queue. Never throws on what the guest does. */
  control(command: Buffer): Outcome {
    return this.#guarded(command, (type) => this.#control(type, command));
  }

  /** Carries out a command of the cursor queue, 5.7.6.10. */
  cursor(command: Buffer): Outcome {
    return this.#guarded(command, (type) => {
      if (type !== Command.UPDATE_CURSOR && type !== Command.MOVE_CURSOR) {
        throw new CommandError(Response.ERR_UNSPEC, `0x${type.toString(16)} is not a cursor command`);
      }
      requireBytes(command, CURSOR_COMMAND_BYTES);
      const { head, x, y, resource } = readCursorCommand(command);
      this.#requireHead(head);
      if (type === Command.UPDATE_CURSOR) {
        const image =
          resource === 0 ? undefined : readCursorImage(this.#resources.require(resource), this.#memory);
        this.#cursors.set(head, { x, y, image });
        this.#reader?.cursorImageChanged(head);
      } else {
        this.#cursors.move(head, x, y);
        this.#reader?.cursorMoved(head);
      }
      return { response: answer(command, Response.OK_NODATA) };
    });
  }

  #guarded(command: Buffer, execute: (type: number) => Outcome): Outcome {
    try {
      requireBytes(command, HEADER_BYTES);
      return execute(command.readUInt32LE(0));
    } catch (error) {
      const type = command.length >= 4 ? `0x${command.readUInt32LE(0).toString(16)}` : "none";
      const text = errorText(error);
      this.#warnings.warn({ command: type, reason: text }, "a command of the guest was refused");
      const response = error instanceof CommandError ? error.response : Response.ERR_UNSPEC;
      return { response: answer(command, response) };
    }
  }

  #control(type: number, command: Buffer): Outcome {
    switch (type) {
      case Command.GET_DISPLAY_INFO:
        return { response: this.#displayInfo(command) };
      case Command.GET_EDID:
        return { response: this.#edid(command) };
      case Command.RESOURCE_CREATE_2D:
        this.#create(command);
        break;
      case Command.RESOURCE_UNREF:
        return { hold: this.#unref(command), response: answer(command, Response.OK_NODATA) };
      case Command.SET_SCANOUT:
        this.#setScanout(command);
        break;
      case Command.RESOURCE_FLUSH:
        this.#flush(command);
        break;
      case Command.TRANSFER_TO_HOST_2D:
        this.#transfer(command);
        break;
      case Command.RESOURCE_ATTACH_BACKING:
        this.#attachBacking(command);
        break;
      case Command.RESOURCE_DETACH_BACKING:
        return { hold: this.#detachBacking(command), response: answer(command, Response.OK_NODATA) };
      default:
        throw new CommandError(
          Response.ERR_UNSPEC,
          `0x${type.toString(16)} is no command of a 2D device with EDID`,
        );
    }
    return { response: answer(command, Response.OK_NODATA) };
  }

  /** 5.7.6.8 GET_DISPLAY_INFO: the heads stand side by side. */
  #displayInfo(command: Buffer): Buffer {
    const response = answer(command, Response.OK_DISPLAY_INFO, HEADER_BYTES + MAX_HEADS * DISPLAY_ONE_BYTES);
    const { heads, mode } = this.#options;
    for (let head = 0; head < heads; head++) {
      const at = HEADER_BYTES + head * DISPLAY_ONE_BYTES;
      response.writeUInt32LE(head * mode.width, at);
      response.writeUInt32LE(mode.width, at + 8);
      response.writeUInt32LE(mode.height, at + 12);
      response.writeUInt32LE(1, at + 16);
    }
    return response;
  }

  /** 5.7.6.8 GET_EDID. Heads that are not connected have one too: the front end may count more than we. */
  #edid(command: Buffer): Buffer {
    requireBytes(command, HEADER_BYTES + 8);
    const head = this.#requireHead(command.readUInt32LE(HEADER_BYTES));
    const edid = generateEdid(head, this.#options.mode);
    const response = answer(command, Response.OK_EDID, HEADER_BYTES + 8 + EDID_FIELD_BYTES);
    response.writeUInt32LE(edid.length, HEADER_BYTES);
    edid.copy(response, HEADER_BYTES + 8);
    return response;
  }

  #create(command: Buffer): void {
    requireBytes(command, HEADER_BYTES + 16);
    const id = command.readUInt32LE(HEADER_BYTES);
    const format = command.readUInt32LE(HEADER_BYTES + 4);
    const width = command.readUInt32LE(HEADER_BYTES + 8);
    const height = command.readUInt32LE(HEADER_BYTES + 12);
    this.#resources.create(id, width, height, format);
  }

  #unref(command: Buffer): Hold | undefined {
    requireBytes(command, HEADER_BYTES + 8);
    const resource = this.#resources.require(command.readUInt32LE(HEADER_BYTES));
    this.#scanouts.forEach((scanout, head) => {
      if (scanout.resource === resource.id) this.#show(head, NOTHING);
    });
    this.#resources.remove(resource);
    return this.#revoke(resource);
  }

  #setScanout(command: Buffer): void {
    requireBytes(command, HEADER_BYTES + 24);
    const rectangle = readRectangle(command);
    const head = this.#requireHead(command.readUInt32LE(HEADER_BYTES + 16));
    const id = command.readUInt32LE(HEADER_BYTES + 20);
    if (id === 0) {
      this.#show(head, NOTHING);
      return;
    }
    const resource = this.#resources.require(id);
    if (rectangle.width === 0 || rectangle.height === 0) {
      throw new CommandError(Response.ERR_INVALID_PARAMETER, `head ${head} is to show an empty rectangle`);
    }
    requireInside(rectangle, resource);
    this.#show(head, { resource: id, rectangle });
  }

  #flush(command: Buffer): void {
    requireBytes(command, HEADER_BYTES + 24);
    const rectangle = readRectangle(command);
    const resource = this.#resources.require(command.readUInt32LE(HEADER_BYTES + 16));
    requireInside(rectangle, resource);
    this.#scanouts.forEach((scanout, head) => {
      if (scanout.resource !== resource.id) return;
      const visible = visiblePart(rectangle, scanout);
      if (visible !== undefined) this.#reader?.damaged(head, visible);
    });
  }

  #transfer(command: Buffer): void {
    requireBytes(command, HEADER_BYTES + 32);
    const resource = this.#resources.require(command.readUInt32LE(HEADER_BYTES + 24));
    requireInside(readRectangle(command), resource);
    if (resource.backing === undefined) {
      throw new CommandError(Response.ERR_UNSPEC, `resource ${resource.id} has no backing to transfer from`);
    }
  }

  #attachBacking(command: Buffer): void {
    requireBytes(command, HEADER_BYTES + 8);
    const resource = this.#resources.require(command.readUInt32LE(HEADER_BYTES));
    const entries = command.readUInt32LE(HEADER_BYTES + 4);
    if (resource.backing !== undefined) {
      throw new CommandError(Response.ERR_UNSPEC, `resource ${resource.id} has a backing already`);
    }
    if (entries === 0 || entries > GPU_LIMITS.BACKING_ENTRIES) {
      throw new CommandError(
        Response.ERR_INVALID_PARAMETER,
        `a backing of ${entries} entries, 1 to ${GPU_LIMITS.BACKING_ENTRIES} are possible`,
      );
    }
    const first = HEADER_BYTES + 8;
    requireBytes(command, first + entries * MEM_ENTRY_BYTES);
    const ranges = Array.from({ length: entries }, (_, i) => {
      const at = first + i * MEM_ENTRY_BYTES;
      const high = command.readUInt32LE(at + 4);
      return {
        address: high * 2 ** 32 + command.readUInt32LE(at),
        length: command.readUInt32LE(at + 8),
      };
    });
    const unsafe = ranges.some(({ address }) => !Number.isSafeInteger(address));
    const found = unsafe ? undefined : this.#memory?.translate(ranges, GPU_LIMITS.BACKING_ENTRIES);
    if (found === undefined) {
      throw new CommandError(
        Response.ERR_INVALID_PARAMETER,
        `the backing of resource ${resource.id} reaches outside the guest's memory`,
      );
    }
    const extents = found.map(({ memory, offset, length }) => ({
      memory: this.#memoryIds[memory] ?? 0,
      offset,
      length,
    }));
    this.#resources.attach(resource, extents, ranges);
  }

  #detachBacking(command: Buffer): Hold | undefined {
    requireBytes(command, HEADER_BYTES + 8);
    const resource = this.#resources.require(command.readUInt32LE(HEADER_BYTES));
    this.#resources.detach(resource);
    return this.#revoke(resource);
  }

  #revoke({ id, backing }: Resource): Hold | undefined {
    return backing === undefined ? undefined : this.#reader?.revoke(id, backing);
  }

  #show(head: number, scanout: Scanout): void {
    this.#scanouts[head] = scanout;
    this.#reader?.scanoutChanged(head, scanout);
  }

  /** Which heads the guest sees is the front end's decision (max_outputs), so all possible ones are taken. */
  #requireHead(head: number): number {
    if (head < MAX_HEADS) return head;
    throw new CommandError(Response.ERR_INVALID_SCANOUT_ID, `there is no head ${head}`);
  }
}
