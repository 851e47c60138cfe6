/** The layout of a head's picture: the part of a 2D resource that the head shows. */
import { fourcc, PACKED_PIXEL_BYTES, virtioFormat, withoutAlpha } from "../../proto/formats.ts";
import type { Scanout } from "../export/source.ts";
import type { PictureLayout, PicturePlane } from "../native/picture.ts";

/** The head cannot be shown; the message has the reason. */
export class ScanoutError extends Error {
  override readonly name = "ScanoutError";
}

/** What the exporter says of a resource. */
export interface ScanoutResource {
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  /** VIRTIO_GPU_FORMAT_*. */
  readonly format: number;
  readonly bytes: PicturePlane["memory"];
}

/**
 * The rows of a 2D resource follow each other without padding: its backing has the layout of the host's copy (virtio 1.2,
 * 5.7.6.8, TRANSFER_TO_HOST_2D).
 *
 * @throws ScanoutError for a format that no 2D resource has
 */
export function scanoutLayout(
  { width, height, format, bytes }: ScanoutResource,
  { rectangle }: Scanout,
): PictureLayout {
  const known = virtioFormat(format);
  // Alpha means nothing on a screen.
  const shown = known && withoutAlpha(known);
  if (shown === undefined) throw new ScanoutError(`the head's pixels have the unknown format ${format}`);
  const plane = { memory: bytes, offset: 0, stride: width * PACKED_PIXEL_BYTES };
  return { width, height, fourcc: fourcc(shown.drm), planes: [plane], visible: rectangle };
}
