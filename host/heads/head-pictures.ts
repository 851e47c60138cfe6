/**
 * The pictures that a head shows, acquired and mapped.
 *
 * A guest that flips pages shows the same few resources in turn, so those stay mapped until the guest frees them. The
 * exporter waits for that: a picture that is revoked is unmapped as soon as nothing reads it.
 */
import type { Scanout } from "../export/source.ts";
import type { HeldResource, ResourceSource } from "../export/vm-resources.ts";
import { Picture } from "../native/picture.ts";
import { ScanoutError, scanoutLayout } from "./scanout-layout.ts";

/** Triple buffering and one more. */
const MAX_PICTURES = 4;

interface Entry {
  readonly picture: Picture;
  readonly held: HeldResource;
}

export class HeadPictures {
  readonly #source: ResourceSource;
  /** The one used last at the end. */
  readonly #entries = new Map<string, Entry>();
  #closed = false;

  constructor(source: ResourceSource) {
    this.#source = source;
  }

  /**
   * The picture of a scanout, for one read that begins before anything else is awaited.
   *
   * @throws RequestError, PictureError, ScanoutError: why it cannot be read
   */
  async get(scanout: Scanout): Promise<Picture> {
    const { resource, rectangle } = scanout;
    const key = [resource, rectangle.x, rectangle.y, rectangle.width, rectangle.height].join();
    const entry = this.#entries.get(key) ?? (await this.#map(key, scanout));
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    for (const oldest of [...this.#entries.keys()].slice(0, -MAX_PICTURES)) this.#drop(oldest);
    return entry.picture;
  }

  /** Lets go of everything; those that are still being asked for are not given. */
  close(): void {
    this.#closed = true;
    this.clear();
  }

  clear(): void {
    for (const key of [...this.#entries.keys()]) this.#drop(key);
  }

  async #map(key: string, scanout: Scanout): Promise<Entry> {
    let revoked = false;
    const held = await this.#source.acquire(scanout.resource, () => {
      revoked = true;
      this.#drop(key);
    });
    let picture: Picture;
    try {
      picture = await Picture.map(scanoutLayout(held, scanout));
    } catch (error) {
      held.release();
      throw error;
    }
    const entry = { picture, held };
    if (!revoked && !this.#closed) return entry;
    letGo(entry);
    throw new ScanoutError("the guest has just freed the picture");
  }

  #drop(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    letGo(entry);
  }
}

/** Unmaps the picture once nothing reads it, then gives its resource back. */
function letGo({ picture, held }: Entry): void {
  void picture.close().then(() => held.release());
}
