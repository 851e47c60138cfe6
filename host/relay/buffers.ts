/**
 * The attached buffers of one session: numbers that stand for pictures, in the VM's memory or (inline) in
 * what comes with each frame.
 *
 * A picture is mapped once, at Attach. When it has to go (Detach, a revoked resource, the end of the session) a
 * frame may still be being read from it; the picture stays mapped until then, and only after that does its resource
 * go back to the exporter.
 */
import { LIMITS } from "../../proto/limits.ts";
import type { HeldResource, ResourceSource } from "../export/vm-resources.ts";
import { InlinePicture } from "../native/inline-picture.ts";
import { Picture } from "../native/picture.ts";
import { RequestError, SessionError } from "./errors.ts";
import type { StreamMetrics } from "./metrics.ts";
import type { AttachRequest } from "./requests.ts";

/** A picture and what it has borrowed. */
interface Entry {
  readonly picture: Picture | InlinePicture;
  readonly held: readonly HeldResource[];
}

export class BufferTable {
  readonly #source: ResourceSource | undefined;
  readonly #entries = new Map<number, Entry>();
  readonly #metrics: StreamMetrics;
  #closed = false;

  /** @param source undefined in a link that belongs to no VM */
  constructor(source: ResourceSource | undefined, metrics: StreamMetrics) {
    this.#source = source;
    this.#metrics = metrics;
  }

  /**
   * Acquires and maps what the guest attaches.
   *
   * @throws RequestError, PictureError: why this buffer cannot be read
   * @throws SessionError when the guest broke the rules of numbering
   */
  async attach(request: AttachRequest): Promise<Picture | InlinePicture> {
    if (request.buffer >= LIMITS.MAX_ATTACHED_BUFFERS) {
      throw new SessionError(
        "LIMIT_EXCEEDED",
        `buffer is ${request.buffer}; it must be below ${LIMITS.MAX_ATTACHED_BUFFERS}`,
      );
    }
    if (this.#entries.has(request.buffer)) {
      throw new SessionError("PROTOCOL_VIOLATION", `buffer ${request.buffer} is attached already`);
    }
    const entry = request.inline ? this.#stage(request) : await this.#map(request);
    if (this.#closed) {
      letGo(entry);
      throw new RequestError("NO_SUCH_RESOURCE", "the session ended meanwhile");
    }
    this.#entries.set(request.buffer, entry);
    this.#metrics.bufferAttached(entry.picture.tier);
    return entry.picture;
  }

  /** An inline buffer: memory of this process, which a guest may have only so much of. */
  #stage(request: AttachRequest): Entry {
    const picture = new InlinePicture(request);
    const others = [...this.#entries.values()].map((entry) => entry.picture);
    const staged = others.reduce((sum, { tier, bytes }) => (tier === "inline" ? sum + bytes : sum), 0);
    if (staged + picture.bytes <= LIMITS.MAX_INLINE_BYTES) return { picture, held: [] };
    void picture.close();
    throw new RequestError(
      "LIMIT_EXCEEDED",
      `buffer ${request.buffer} would bring the inline buffers to ${staged + picture.bytes} bytes, limit ${LIMITS.MAX_INLINE_BYTES}: detach one`,
    );
  }

  async #map(request: AttachRequest): Promise<Entry> {
    let revoked = false;
    let entry: Entry | undefined;
    const held: HeldResource[] = [];
    try {
      const planes = [];
      const acquired = new Map<number, HeldResource["bytes"]>();
      for (const { resource, offset, stride } of request.planes) {
        const memory =
          acquired.get(resource) ??
          (await this.#acquire(resource, held, () => {
            revoked = true;
            if (entry !== undefined) letGo(entry);
          }));
        acquired.set(resource, memory);
        planes.push({ memory, offset, stride });
      }
      entry = { picture: await Picture.map({ ...request, planes }), held };
    } catch (error) {
      for (const each of held) each.release();
      throw error;
    }
    if (!revoked) return entry;
    letGo(entry);
    throw new RequestError("NO_SUCH_RESOURCE", "the guest freed the resource while it was being attached");
  }

  /**
   * The picture that a frame names.
   *
   * @throws RequestError UNKNOWN_BUFFER or NO_SUCH_RESOURCE
   */
  get(buffer: number): Picture | InlinePicture {
    const entry = this.#entries.get(buffer);
    if (entry === undefined) {
      throw new RequestError("UNKNOWN_BUFFER", `buffer ${buffer} is not attached`);
    }
    if (entry.picture.closed) {
      throw new RequestError(
        "NO_SUCH_RESOURCE",
        `the resource of buffer ${buffer} was freed: attach it again`,
      );
    }
    return entry.picture;
  }

  detach(buffer: number): void {
    const entry = this.#entries.get(buffer);
    if (entry === undefined) return;
    this.#entries.delete(buffer);
    this.#metrics.bufferDetached(entry.picture.tier);
    letGo(entry);
  }

  /** Lets go of everything, now or after the last read. */
  close(): void {
    this.#closed = true;
    for (const buffer of [...this.#entries.keys()]) this.detach(buffer);
  }

  async #acquire(
    resource: number,
    held: HeldResource[],
    onRevoked: () => void,
  ): Promise<HeldResource["bytes"]> {
    if (this.#source === undefined) {
      throw new RequestError(
        "NO_EXPORTER",
        "this link belongs to no VM, so resource ids mean nothing here: send pixels inline, or set `export` of the [[vm]] in the host's configuration",
      );
    }
    const hold = await this.#source.acquire(resource, onRevoked);
    held.push(hold);
    return hold.bytes;
  }
}

/** Unmaps the picture once nothing reads it, then gives its resources back. Harmless a second time. */
function letGo({ picture, held }: Entry): void {
  void picture.close().then(() => {
    for (const each of held) each.release();
  });
}
