/** Where the pixels of a head's picture are: the layout of a 2D resource, and the part of it that the head shows. */
import { fourcc, PIXEL_FORMATS } from "../../proto/formats.ts";
import type { Scanout } from "../export/source.ts";
import type { PictureLayout, PicturePlane } from "../native/picture.ts";

/** The head cannot be shown; the message says why. */
export class ScanoutError extends Error {
  override readonly name = "ScanoutError";
}

/**
 * enum virtio_gpu_formats (virtio 1.2, 5.7.6.8), which names the bytes in memory, as GStreamer does. Alpha means nothing on
 * a screen, so the formats with it are read as those without.
 */
const FORMATS: Readonly<Record<number, string>> = {
  1: "BGRx", // B8G8R8A8
  2: "BGRx", // B8G8R8X8
  3: "xRGB", // A8R8G8B8
  4: "xRGB", // X8R8G8B8
  67: "RGBx", // R8G8B8A8
  68: "xBGR", // X8B8G8R8
  121: "xBGR", // A8B8G8R8
  134: "RGBx", // R8G8B8X8
};
const PIXEL_BYTES = 4;

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
  const drm = PIXEL_FORMATS.find(({ name }) => name === FORMATS[format])?.drm;
  if (drm === undefined) throw new ScanoutError(`the head's pixels have the unknown format ${format}`);
  const plane = { memory: bytes, offset: 0, stride: width * PIXEL_BYTES };
  return { width, height, fourcc: fourcc(drm), planes: [plane], visible: rectangle };
}
