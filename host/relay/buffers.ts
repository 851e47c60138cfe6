/**
 * The attached buffers of one session: numbers that stand for pictures, in the VM's memory, in what the host's GPU has
 * rendered, or (inline) in the bytes that come with each frame.
 *
 * A picture in memory is mapped once, at Attach. On Detach, on a revoked resource and at the end of the session it is
 * closed; a frame that is still being read from it keeps it until then.
 */
import { LIMITS } from "../../proto/limits.ts";
import { Holds, type MappedPicture, mapPicture } from "../export/mapped-picture.ts";
import { RenderedPicture, SlotSets, usesOf } from "../export/rendered-picture.ts";
import type { ResourceSource } from "../export/vm-resources.ts";
import { InlinePicture } from "../native/inline-picture.ts";
import type { Picture, PictureBudget, PicturePlane } from "../native/picture.ts";
import { RequestError, SessionError } from "./errors.ts";
import type { StreamMetrics } from "./metrics.ts";
import type { AttachRequest } from "./requests.ts";
import type { TimeShare } from "./time-share.ts";

/** The picture of a buffer. */
export type BufferPicture = Picture | RenderedPicture | InlinePicture;

type Entry = MappedPicture | { readonly picture: RenderedPicture | InlinePicture; close(): void };

export class BufferTable {
  readonly #source: ResourceSource | undefined;
  readonly #budget: PictureBudget;
  readonly #mapping: TimeShare;
  readonly #entries = new Map<number, Entry>();
  readonly #metrics: StreamMetrics;
  readonly #slots = new SlotSets();
  #closed = false;

  /**
   * @param source undefined in a link that belongs to no VM
   * @param budget of the VM, or of the listener without one
   * @param mapping time for mapping pictures, likewise
   */
  constructor(
    source: ResourceSource | undefined,
    { budget, mapping }: { readonly budget: PictureBudget; readonly mapping: TimeShare },
    metrics: StreamMetrics,
  ) {
    this.#source = source;
    this.#budget = budget;
    this.#mapping = mapping;
    this.#metrics = metrics;
  }

  /**
   * Acquires and maps the picture of an Attach.
   *
   * @throws RequestError, PictureError, ExportClosedError, ExportRefusedError: why this buffer cannot be read
   * @throws SessionError for a number that is too large or in use
   */
  async attach(request: AttachRequest): Promise<BufferPicture> {
    const { buffer } = request;
    if (buffer >= LIMITS.MAX_ATTACHED_BUFFERS) {
      const text = `buffer is ${buffer}; it must be below ${LIMITS.MAX_ATTACHED_BUFFERS}`;
      throw new SessionError("LIMIT_EXCEEDED", text);
    }
    if (this.#entries.has(buffer)) {
      throw new SessionError("PROTOCOL_VIOLATION", `buffer ${buffer} is attached already`);
    }
    const entry = request.inline ? this.#stage(request) : await this.#map(request);
    if (this.#closed) {
      entry.close();
      throw new RequestError("NO_SUCH_RESOURCE", "the session ended meanwhile");
    }
    this.#entries.set(buffer, entry);
    this.#metrics.bufferAttached(entry.picture.tier);
    return entry.picture;
  }

  /** An inline buffer: memory of this process, bounded for each session, and by the VM's budget. */
  #stage(request: AttachRequest): Entry {
    const picture = new InlinePicture(request, this.#budget);
    let total = picture.bytes;
    for (const { picture: other } of this.#entries.values())
      if (other.tier === "inline") total += other.bytes;
    if (total <= LIMITS.MAX_INLINE_BYTES) return { picture, close: () => void picture.close() };
    void picture.close();
    const text = `buffer ${request.buffer} would bring the inline buffers to ${total} bytes, limit ${LIMITS.MAX_INLINE_BYTES}: detach one`;
    throw new RequestError("LIMIT_EXCEEDED", text);
  }

  async #map(request: AttachRequest): Promise<Entry> {
    if (this.#source === undefined) {
      const text =
        "this link belongs to no VM, so it has no resources: send pixels inline, or set `export` of the [[vm]] in the host's configuration";
      throw new RequestError("NO_EXPORTER", text);
    }
    const holds = await Holds.acquire(this.#source, usesOf(request, request.content));
    if ([...holds.byId.values()].some(({ bytes }) => "readable" in bytes)) {
      const picture = new RenderedPicture(holds, request, this.#slots);
      return { picture, close: () => picture.close() };
    }
    await this.#mapping.enter();
    try {
      return await mapPicture(holds, () => {
        const planes = request.planes.flatMap(({ resource, offset, stride }): PicturePlane[] => {
          const memory = holds.byId.get(resource)?.bytes;
          return memory === undefined || "readable" in memory ? [] : [{ memory, offset, stride }];
        });
        return { ...request, planes };
      });
    } finally {
      this.#mapping.leave();
    }
  }

  /**
   * The picture of a frame.
   *
   * @throws RequestError UNKNOWN_BUFFER or NO_SUCH_RESOURCE
   */
  get(buffer: number): BufferPicture {
    const picture = this.#entries.get(buffer)?.picture;
    if (picture === undefined) throw new RequestError("UNKNOWN_BUFFER", `buffer ${buffer} is not attached`);
    if (!picture.closed) return picture;
    throw new RequestError("NO_SUCH_RESOURCE", `the resource of buffer ${buffer} was freed: attach it again`);
  }

  detach(buffer: number): void {
    const entry = this.#entries.get(buffer);
    if (entry === undefined) return;
    this.#entries.delete(buffer);
    this.#metrics.bufferDetached(entry.picture.tier);
    entry.close();
  }

  /** Closes every picture, now or after the last read. */
  close(): void {
    this.#closed = true;
    for (const buffer of [...this.#entries.keys()]) this.detach(buffer);
    this.#slots.close();
  }
}
