/**
 * A picture in a VM's resources: acquired from the exporter, mapped, and released again in the right order.
 *
 * The picture ends when its user closes it or when a resource is revoked, whichever comes first. An encoder may still
 * be reading it then. It stays mapped until the last read, and only after that do the resources go back to the exporter.
 */
import { Picture, type PictureLayout } from "../native/picture.ts";
import { ExportRefusedError } from "./client.ts";
import type { HeldResource, ResourceSource } from "./vm-resources.ts";

export interface MappedPicture {
  /** Closed once a resource has been revoked. */
  readonly picture: Picture;
  /** Unmaps the picture after the last read, then releases its resources. Calling it again does nothing. */
  close(): void;
}

/**
 * Acquires resources and maps a picture in them.
 *
 * @param ids of the resources; repetitions are acquired once
 * @param layoutOf the picture's layout, given the acquired resources by id
 * @throws ExportClosedError, ExportRefusedError, PictureError, and what `layoutOf` throws; nothing stays acquired then
 */
export async function mapPicture(
  source: ResourceSource,
  ids: readonly number[],
  layoutOf: (resources: ReadonlyMap<number, HeldResource>) => PictureLayout,
): Promise<MappedPicture> {
  const held = new Map<number, HeldResource>();
  let picture: Picture | undefined;
  let revoked: number | undefined;
  const release = (): void => {
    for (const resource of held.values()) resource.release();
  };
  const close = (): void => {
    if (picture?.closed === false) void picture.close().then(release);
  };
  const throwIfRevoked = (): void => {
    if (revoked !== undefined) {
      throw new ExportRefusedError(revoked, "RESOURCE_UNKNOWN", "the guest has just freed it");
    }
  };
  try {
    for (const id of new Set(ids)) {
      const resource = await source.acquire(id, () => {
        revoked ??= id;
        close();
      });
      held.set(id, resource);
    }
    // Without this, the descriptors might belong to a connection that is closed.
    throwIfRevoked();
    picture = await Picture.map(layoutOf(held));
    throwIfRevoked();
    return { picture, close };
  } catch (error) {
    if (picture === undefined) release();
    else close();
    throw error;
  }
}
