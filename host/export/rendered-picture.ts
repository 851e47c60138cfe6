/**
 * A picture that the host's GPU has rendered: at each frame the exporter copies it into slots, which are encoded.
 *
 * The guest gets its buffer back as soon as the copy is made. The slots of a stream are taken in sets, one slot for each
 * resource of a picture, and each set is mapped once. All pictures of a stream share three sets: one is being filled
 * while the encoder reads one and has another waiting.
 */
import { drmFormat, type PixelFormat, virtioFormat, withoutAlpha } from "../../proto/formats.ts";
import {
  InvalidLayoutError,
  Picture,
  type PictureChecksum,
  PictureError,
  type PictureGeometry,
  type PlaneGeometry,
} from "../native/picture.ts";
import { ExportClosedError, type ReadTimes, type ResourceUse } from "./client.ts";
import type { Holds } from "./mapped-picture.ts";
import type { SlotMemory, Slots } from "./slots.ts";
import type { HeldResource, ReadableResource } from "./vm-resources.ts";

/** The VM's other streams use all slots. */
export class SlotsSpentError extends PictureError {
  override readonly name = "SlotsSpentError";
}

/** A picture as the guest describes it, in resources. */
export interface ResourceGeometry extends PictureGeometry {
  readonly planes: readonly (PlaneGeometry & { readonly resource: number })[];
}

/** The same in slots, numbered by the order of the resources: what is mapped depends neither on ids nor on the buffer. */
interface SlotGeometry extends PictureGeometry {
  readonly planes: readonly (PlaneGeometry & { readonly slot: number })[];
}

/** One frame's copy. */
export interface RenderedFrame {
  /** For the encoder. */
  readonly picture: Picture;
  readonly times: ReadTimes;
  /** The picture has been read, or will not be. */
  done(): void;
}

const MAX_SETS = 3;

interface SlotSet {
  /** Of the layout that it is mapped for. */
  readonly key: string;
  readonly slots: Slots;
  readonly numbers: readonly number[];
  state: "idle" | "filling" | "read";
  mapped: { readonly picture: Picture; readonly memories: readonly (SlotMemory | undefined)[] } | undefined;
}

/** The slots of one stream. */
export class SlotSets {
  readonly #sets = new Set<SlotSet>();
  #onIdle: (() => void) | undefined;
  #closed = false;

  /**
   * Takes a set for one filling; waits until the encoder has read one. One call at a time.
   *
   * @param count of resources
   * @throws SlotsSpentError, ExportClosedError
   */
  async take(slots: Slots, key: string, count: number): Promise<SlotSet> {
    while (!this.#closed) {
      const idle = [...this.#sets].filter(({ state }) => state === "idle");
      const fitting =
        idle.find((set) => set.key === key && set.slots === slots) ?? this.#add(slots, key, count);
      if (fitting !== undefined) {
        fitting.state = "filling";
        return fitting;
      }
      if (this.#sets.size === 0) {
        throw new SlotsSpentError("this VM's other streams use all slots of its exporter: end one of them");
      }
      const other = idle[0];
      if (other !== undefined) {
        await this.#discard(other);
        continue;
      }
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    throw new ExportClosedError("the stream has ended");
  }

  /** Returns a set. */
  give(set: SlotSet): void {
    if (this.#closed) {
      void this.#discard(set);
      return;
    }
    set.state = "idle";
    this.#onIdle?.();
  }

  /** Discards all sets, each after its last read. */
  close(): void {
    this.#closed = true;
    this.#onIdle?.();
    for (const set of [...this.#sets]) if (set.state !== "filling") void this.#discard(set);
  }

  #add(slots: Slots, key: string, count: number): SlotSet | undefined {
    const numbers = this.#sets.size < MAX_SETS ? slots.take(count) : undefined;
    if (numbers === undefined) return undefined;
    const set: SlotSet = { key, slots, numbers, state: "idle", mapped: undefined };
    this.#sets.add(set);
    return set;
  }

  async #discard(set: SlotSet): Promise<void> {
    if (!this.#sets.delete(set)) return;
    await set.mapped?.picture.close();
    for (const slot of set.numbers) set.slots.discard(slot);
  }
}

/** How the pixels of an attached picture are needed of each resource, by its id: up to the end of its last plane. */
export function usesOf(
  { height, planes, ...layout }: ResourceGeometry,
  content: ResourceUse["content"],
): ReadonlyMap<number, ResourceUse> {
  const format = drmFormat(layout.fourcc);
  const uses = new Map<number, ResourceUse>();
  planes.forEach(({ resource, offset, stride }, index) => {
    const rows = Math.ceil(height / (format?.planes[index]?.vertical ?? 1));
    const bytes = Math.max(uses.get(resource)?.bytes ?? 0, offset + stride * rows);
    uses.set(resource, { content, bytes });
  });
  return uses;
}

export class RenderedPicture {
  readonly tier = "resource-read";
  readonly runs: number;
  readonly #holds: Holds;
  readonly #sets: SlotSets;
  readonly #layout: SlotGeometry;
  readonly #key: string;
  readonly #resources: readonly ReadableResource[];
  readonly #slots: Slots;
  #closed = false;

  /**
   * Takes the acquired resources over; they are released when the picture is closed, or one is revoked.
   *
   * @param layout as the guest describes it
   * @param sets the stream's
   * @throws InvalidLayoutError where the resources do not have that picture; they are released then
   */
  constructor(holds: Holds, layout: ResourceGeometry, sets: SlotSets) {
    this.#holds = holds;
    this.#sets = sets;
    try {
      this.#resources = [...holds.byId].map(([id, { bytes }]) => readableOf(id, bytes));
      const first = this.#resources[0];
      if (first === undefined) throw new InvalidLayoutError("the picture has no planes");
      this.#slots = first.slots;
      this.#layout = inSlots(layout, holds.byId);
      const sizes = this.#resources.map(({ readable }) => readable.bytes);
      this.#key = JSON.stringify([this.#layout, sizes]);
    } catch (error) {
      holds.release();
      throw error;
    }
    this.runs = this.#resources.length;
    holds.onRevoked(() => this.close());
  }

  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Has the picture copied, as it is after everything that the guest has queued. One call at a time a stream. It may
   * take seconds, behind a guest's unfinished draws.
   *
   * @throws ExportRefusedError, ExportClosedError, PictureError
   */
  async read(): Promise<RenderedFrame> {
    this.#holds.throwIfRevoked();
    const set = await this.#sets.take(this.#slots, this.#key, this.#resources.length);
    let filled: readonly PromiseSettledResult<ReadTimes>[] = [];
    try {
      filled = await Promise.allSettled(
        this.#resources.map((resource, index) => resource.read(set.numbers[index] ?? 0)),
      );
      const times = filled.map((result) => {
        if (result.status === "rejected") throw result.reason;
        return result.value;
      });
      const picture = await this.#map(set);
      set.state = "read";
      return {
        picture,
        times: {
          waitUs: Math.max(...times.map(({ waitUs }) => waitUs)),
          copyUs: times.reduce((sum, { copyUs }) => sum + copyUs, 0),
        },
        done: once(() => this.#give(set, set.numbers)),
      };
    } catch (error) {
      // The slot of a refused Read is free already.
      this.#give(
        set,
        set.numbers.filter((_, index) => filled[index]?.status === "fulfilled"),
      );
      throw error;
    }
  }

  /** Reads the picture once. @throws as read() does */
  async checksum(): Promise<PictureChecksum> {
    const { picture, done } = await this.read();
    try {
      return await picture.checksum();
    } finally {
      done();
    }
  }

  /** Releases the resources; frames that were read remain readable. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#holds.release();
  }

  #give(set: SlotSet, filled: readonly number[]): void {
    for (const slot of filled) this.#slots.free(slot);
    this.#sets.give(set);
  }

  /** Maps the set's memories, once for each. */
  async #map(set: SlotSet): Promise<Picture> {
    const memories = set.numbers.map((slot) => set.slots.memory(slot));
    if (set.mapped?.memories.every((memory, index) => memory === memories[index])) return set.mapped.picture;
    await set.mapped?.picture.close();
    set.mapped = undefined;
    const extents = memories.map((memory, index) => {
      const bytes = this.#resources[index]?.readable.bytes ?? 0;
      if (memory !== undefined && memory.bytes >= bytes) {
        return { extents: [{ fd: memory.descriptor, offset: 0, length: bytes }] };
      }
      throw new ExportClosedError("the exporter reports a copy, but has sent no memory that has it");
    });
    const planes = this.#layout.planes.flatMap(({ slot, offset, stride }) => {
      const memory = extents[slot];
      return memory === undefined ? [] : [{ memory, offset, stride }];
    });
    const picture = await Picture.map({ ...this.#layout, planes }, this.#holds.budget);
    set.mapped = { picture, memories };
    return picture;
  }
}

function once(work: () => void): () => void {
  let isDone = false;
  return () => {
    if (!isDone) work();
    isDone = true;
  };
}

function readableOf(id: number, bytes: HeldResource["bytes"]): ReadableResource {
  if ("readable" in bytes) return bytes;
  throw new InvalidLayoutError(`resource ${id} is in the guest's pages, another one of the picture is not`);
}

/**
 * The layout in the slots. The guest's strides and offsets are those of the bytes that its driver shows; a slot has the
 * texture's rows without padding.
 *
 * @throws InvalidLayoutError: better than the picture of something else
 */
function inSlots(layout: ResourceGeometry, held: ReadonlyMap<number, HeldResource>): SlotGeometry {
  const { width, height, fourcc, visible } = layout;
  const ids = [...held.keys()];
  const format = drmFormat(layout.fourcc);
  const planes = layout.planes.map((plane, index) => {
    const texture = held.get(plane.resource);
    const stride = texture !== undefined && "readable" in texture.bytes ? texture.bytes.readable.stride : 0;
    const { horizontal, bytes } = format?.planes[index] ?? { horizontal: 1, bytes: 1 };
    const slot = ids.indexOf(plane.resource);
    if (texture === undefined || stride === 0) return { slot, offset: plane.offset, stride: plane.stride };
    if (plane.offset % plane.stride !== 0) {
      throw new InvalidLayoutError(
        `planes[${index}].offset is ${plane.offset}, no whole number of rows of ${plane.stride} bytes, but resource ${plane.resource} is a texture`,
      );
    }
    const row = Math.ceil(layout.width / horizontal) * bytes;
    if (format === undefined || stride !== row || !isSamePacked(format, layout, texture)) {
      throw new InvalidLayoutError(
        `resource ${plane.resource} is a texture of ${texture.width}x${texture.height} with format ${texture.format} of virtio-gpu; it does not hold plane ${index} of ${layout.width}x${layout.height} ${format?.name ?? "of an unknown format"}`,
      );
    }
    return { slot, offset: (plane.offset / plane.stride) * stride, stride };
  });
  return { width, height, fourcc, visible, planes };
}

/** Whether a texture has a packed picture's size and order of bytes. Planes of others are bytes in any format. */
function isSamePacked(
  format: PixelFormat,
  { width, height }: PictureGeometry,
  texture: HeldResource,
): boolean {
  if (format.virtio === undefined) return true;
  const found = virtioFormat(texture.format);
  const sameBytes = found !== undefined && withoutAlpha(found) === withoutAlpha(format);
  return sameBytes && texture.width === width && texture.height === height;
}
