/**
 * The pictures that a head shows, acquired and mapped.
 *
 * A guest that flips pages shows the same few resources in turn, so those stay mapped until the guest frees them.
 */
import { fourcc, PACKED_PIXEL_BYTES, virtioFormat, withoutAlpha } from "../../proto/formats.ts";
import { Holds, type MappedPicture, mapPicture } from "../export/mapped-picture.ts";
import type { Scanout } from "../export/source.ts";
import type { ResourceSource } from "../export/vm-resources.ts";
import type { Picture } from "../native/picture.ts";

/** The head cannot be shown; the message has the reason. */
export class ScanoutError extends Error {
  override readonly name = "ScanoutError";
}

/** Triple buffering and one more. */
const MAX_PICTURES = 4;

export class HeadPictures {
  readonly #source: ResourceSource;
  /** Most recently used last. */
  readonly #entries = new Map<string, MappedPicture>();
  #closed = false;

  constructor(source: ResourceSource) {
    this.#source = source;
  }

  /**
   * The picture of a scanout, for one read that begins before anything else is awaited.
   *
   * @throws ExportClosedError, ExportRefusedError, PictureError, ScanoutError: why it cannot be read
   */
  async get(scanout: Scanout): Promise<Picture> {
    const { resource, rectangle } = scanout;
    const key = [resource, rectangle.x, rectangle.y, rectangle.width, rectangle.height].join();
    let entry = this.#entries.get(key);
    if (entry === undefined || entry.picture.closed) entry = await this.#map(scanout);
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    for (const oldest of [...this.#entries.keys()].slice(0, -MAX_PICTURES)) this.#drop(oldest);
    return entry.picture;
  }

  /** Closes every picture; one that is being mapped is closed as soon as it is. */
  close(): void {
    this.#closed = true;
    this.clear();
  }

  clear(): void {
    for (const key of [...this.#entries.keys()]) this.#drop(key);
  }

  async #map(scanout: Scanout): Promise<MappedPicture> {
    const { resource } = scanout;
    const holds = await Holds.acquire(this.#source, new Map([[resource, undefined]]));
    const mapped = await mapPicture(holds, () => {
      const held = holds.byId.get(resource);
      if (held === undefined || "readable" in held.bytes) {
        throw new ScanoutError(`resource ${resource} has no pages that a head could show`);
      }
      const { width, height, format, bytes: memory } = held;
      // Alpha means nothing on a screen.
      const known = virtioFormat(format);
      const shown = known && withoutAlpha(known);
      if (shown === undefined) throw new ScanoutError(`the head's pixels have the unknown format ${format}`);
      // Rows without padding: the backing has the layout of the host's copy (virtio 1.2, 5.7.6.8, TRANSFER_TO_HOST_2D).
      const plane = { memory, offset: 0, stride: width * PACKED_PIXEL_BYTES };
      return { width, height, fourcc: fourcc(shown.drm), planes: [plane], visible: scanout.rectangle };
    });
    if (!this.#closed) return mapped;
    mapped.close();
    throw new ScanoutError("the head is no longer watched");
  }

  #drop(key: string): void {
    this.#entries.get(key)?.close();
    this.#entries.delete(key);
  }
}
