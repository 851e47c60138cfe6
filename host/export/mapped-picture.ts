/**
 * A picture in a VM's resources: acquired from the exporter, mapped, and released again in the right order.
 *
 * The picture ends when its user closes it or when a resource is revoked, whichever comes first. An encoder may still
 * be reading it then. It stays mapped until the last read, and only after that do the resources go back to the exporter.
 */
import { Picture, type PictureBudget, type PictureLayout } from "../native/picture.ts";
import { ExportRefusedError, type ResourceUse } from "./client.ts";
import type { HeldResource, ResourceSource } from "./vm-resources.ts";

export interface MappedPicture {
  /** Closed once a resource has been revoked. */
  readonly picture: Picture;
  /** Unmaps the picture after the last read, then releases its resources. Calling it again does nothing. */
  close(): void;
}

/** Resources that are acquired, and end, together. */
export class Holds {
  readonly byId = new Map<number, HeldResource>();
  /** For pictures in them. */
  readonly budget: PictureBudget;
  #revoked: number | undefined;
  #onRevoked: (() => void) | undefined;

  private constructor(budget: PictureBudget) {
    this.budget = budget;
  }

  /**
   * Acquires all, or none.
   *
   * @param uses by the resources' ids
   * @throws ExportClosedError, ExportRefusedError
   */
  static async acquire(
    source: ResourceSource,
    uses: ReadonlyMap<number, ResourceUse | undefined>,
  ): Promise<Holds> {
    const holds = new Holds(source.budget);
    try {
      for (const [id, use] of uses) {
        holds.byId.set(id, await source.acquire(id, () => holds.#revoke(id), use));
      }
      // Without this, the descriptors might belong to a connection that is closed.
      holds.throwIfRevoked();
      return holds;
    } catch (error) {
      holds.release();
      throw error;
    }
  }

  /** @param listener called once when the first of them is revoked: stop reading and release() soon */
  onRevoked(listener: () => void): void {
    this.#onRevoked = listener;
  }

  /** @throws ExportRefusedError */
  throwIfRevoked(): void {
    if (this.#revoked !== undefined) {
      throw new ExportRefusedError(this.#revoked, "RESOURCE_UNKNOWN", "the guest has just freed it");
    }
  }

  release(): void {
    for (const resource of this.byId.values()) resource.release();
  }

  #revoke(id: number): void {
    if (this.#revoked !== undefined) return;
    this.#revoked = id;
    this.#onRevoked?.();
  }
}

/**
 * Maps a picture in acquired resources, which it takes over.
 *
 * @param layoutOf the picture's layout
 * @throws PictureError, ExportRefusedError, and what `layoutOf` throws; the resources are released then
 */
export async function mapPicture(holds: Holds, layoutOf: () => PictureLayout): Promise<MappedPicture> {
  let picture: Picture | undefined;
  const close = (): void => {
    if (picture?.closed === false) void picture.close().then(() => holds.release());
  };
  holds.onRevoked(close);
  try {
    picture = await Picture.map(layoutOf(), holds.budget);
    holds.throwIfRevoked();
    return { picture, close };
  } catch (error) {
    if (picture === undefined) holds.release();
    else close();
    throw error;
  }
}
