/**
 * The attached buffers of one session: numbers that stand for pictures in the VM's memory.
 *
 * A picture is mapped once, at Attach. It may have to go while frames are still being read from it (Detach of a
 * hostile guest, a revoked resource, the end of the session): then it is retired, and let go after the last read.
 */
import { LIMITS } from "../../proto/limits.ts";
import type { Picture } from "../native/picture.ts";
import { RequestError, SessionError } from "./errors.ts";
import { mapPicture } from "./map-picture.ts";
import type { AttachRequest } from "./requests.ts";
import type { HeldResource, ResourceSource } from "./resources.ts";

/** An attached buffer, while it can be read. */
export interface AttachedBuffer {
  readonly picture: Picture;
  /** Marks the start of a read; the returned function marks its end. */
  beginRead(): () => void;
}

class Entry implements AttachedBuffer {
  readonly picture: Picture;
  readonly #held: readonly HeldResource[];
  #readers = 0;
  #retired = false;

  constructor(picture: Picture, held: readonly HeldResource[]) {
    this.picture = picture;
    this.#held = held;
  }

  get isRetired(): boolean {
    return this.#retired;
  }

  beginRead(): () => void {
    this.#readers += 1;
    let reading = true;
    return () => {
      if (!reading) return;
      reading = false;
      this.#readers -= 1;
      if (this.#retired && this.#readers === 0) this.#letGo();
    };
  }

  retire(): void {
    if (this.#retired) return;
    this.#retired = true;
    if (this.#readers === 0) this.#letGo();
  }

  #letGo(): void {
    this.picture.close();
    for (const held of this.#held) held.release();
  }
}

export class BufferTable {
  readonly #source: ResourceSource | undefined;
  readonly #entries = new Map<number, Entry>();
  #closed = false;

  constructor(source: ResourceSource | undefined) {
    this.#source = source;
  }

  /**
   * Acquires and maps what the guest attaches.
   *
   * @throws RequestError why this buffer cannot be read
   * @throws SessionError when the guest broke the rules of numbering
   */
  async attach(request: AttachRequest): Promise<Picture> {
    if (request.buffer >= LIMITS.MAX_ATTACHED_BUFFERS) {
      throw new SessionError(
        "LIMIT_EXCEEDED",
        `buffer is ${request.buffer}; it must be below ${LIMITS.MAX_ATTACHED_BUFFERS}`,
      );
    }
    if (this.#entries.has(request.buffer)) {
      throw new SessionError("PROTOCOL_VIOLATION", `buffer ${request.buffer} is attached already`);
    }
    if (this.#source === undefined) {
      throw new RequestError(
        "NO_EXPORTER",
        "this link belongs to no VM, so resource ids mean nothing here: name the VM's export socket in the relay's configuration",
      );
    }
    let revokedEarly = false;
    let entry: Entry | undefined;
    const held: HeldResource[] = [];
    const onRevoked = (): void => {
      revokedEarly = true;
      entry?.retire();
    };
    try {
      for (const plane of request.planes) held.push(await this.#source.acquire(plane.resource, onRevoked));
      entry = new Entry(await mapPicture(request, held), held);
    } catch (error) {
      for (const each of held) each.release();
      throw error;
    }
    if (revokedEarly || this.#closed) {
      entry.retire();
      throw new RequestError("NO_SUCH_RESOURCE", "the guest freed the resource while it was being attached");
    }
    this.#entries.set(request.buffer, entry);
    return entry.picture;
  }

  /** @throws RequestError UNKNOWN_BUFFER or NO_SUCH_RESOURCE */
  get(buffer: number): AttachedBuffer {
    const entry = this.#entries.get(buffer);
    if (entry === undefined) {
      throw new RequestError("UNKNOWN_BUFFER", `buffer ${buffer} is not attached`);
    }
    if (entry.isRetired) {
      throw new RequestError(
        "NO_SUCH_RESOURCE",
        `the resource of buffer ${buffer} was freed: attach it again`,
      );
    }
    return entry;
  }

  detach(buffer: number): void {
    this.#entries.get(buffer)?.retire();
    this.#entries.delete(buffer);
  }

  /** Lets go of everything, now or after the last read. */
  close(): void {
    this.#closed = true;
    for (const entry of this.#entries.values()) entry.retire();
    this.#entries.clear();
  }
}
