/**
 * The pixel formats of guest and host: the single truth, from which `generate.ts` makes the C lists.
 *
 * GStreamer and virtio-gpu name a format by its bytes in memory, DRM by the little-endian word: GStreamer's BGRx is
 * VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM, and XRGB8888 ("XR24") of DRM.
 */

/** One plane: `bytes` for each sample, which stands for `horizontal` × `vertical` pixels. */
export interface PlaneFormat {
  readonly bytes: 1 | 2 | 4;
  readonly horizontal: 1 | 2;
  readonly vertical: 1 | 2;
}

export interface PixelFormat {
  /** GStreamer's name. */
  readonly name: string;
  /** The four characters of drm_fourcc.h. */
  readonly drm: string;
  /** VIRTIO_GPU_FORMAT_* (virtio 1.2, 5.7.6.8); undefined where a 2D resource cannot have the format. */
  readonly virtio?: number;
  readonly planes: readonly PlaneFormat[];
}

/** Bytes of a pixel in the formats of 2D resources. */
export const PACKED_PIXEL_BYTES = 4;

const packed: readonly PlaneFormat[] = [{ bytes: PACKED_PIXEL_BYTES, horizontal: 1, vertical: 1 }];
const luma: PlaneFormat = { bytes: 1, horizontal: 1, vertical: 1 };
const chroma: PlaneFormat = { bytes: 1, horizontal: 2, vertical: 2 };
const chromaPairs: PlaneFormat = { bytes: 2, horizontal: 2, vertical: 2 };

/** Best first: BGRx is what compositors and virtio-gpu use. */
export const PIXEL_FORMATS: readonly PixelFormat[] = [
  { name: "BGRx", drm: "XR24", virtio: 2, planes: packed },
  { name: "BGRA", drm: "AR24", virtio: 1, planes: packed },
  { name: "RGBx", drm: "XB24", virtio: 134, planes: packed },
  { name: "RGBA", drm: "AB24", virtio: 67, planes: packed },
  { name: "xRGB", drm: "BX24", virtio: 4, planes: packed },
  { name: "ARGB", drm: "BA24", virtio: 3, planes: packed },
  { name: "xBGR", drm: "RX24", virtio: 68, planes: packed },
  { name: "ABGR", drm: "RA24", virtio: 121, planes: packed },
  { name: "NV12", drm: "NV12", planes: [luma, chromaPairs] },
  { name: "I420", drm: "YU12", planes: [luma, chroma, chroma] },
];

/** VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM, which Linux gives every dumb buffer. */
export const VIRTIO_BGRX = 2;

/** DRM_FORMAT_* as a number (fourcc_code of drm_fourcc.h). */
export function fourcc(drm: string): number {
  return Buffer.from(drm.padEnd(4)).readUInt32LE(0);
}

/** The format of a 2D resource by its VIRTIO_GPU_FORMAT_*; undefined: virtio-gpu has no such format. */
export function virtioFormat(virtio: number): PixelFormat | undefined {
  return PIXEL_FORMATS.find((format) => format.virtio === virtio);
}

/** The format by its DRM_FORMAT_*; undefined: not supported. */
export function drmFormat(code: number): PixelFormat | undefined {
  return PIXEL_FORMATS.find(({ drm }) => fourcc(drm) === code);
}

/** The format with the same bytes in which the alpha byte is unused. */
export function withoutAlpha({ name }: PixelFormat): PixelFormat | undefined {
  return PIXEL_FORMATS.find((format) => format.name === name.replace("A", "x"));
}
