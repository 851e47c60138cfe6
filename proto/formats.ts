/**
 * The pixel formats that guest and host both know: the single truth, from which `generate.ts` makes the C table.
 *
 * GStreamer names a format by the bytes in memory, DRM by the little-endian word: BGRx is XRGB8888, "XR24".
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
  readonly planes: readonly PlaneFormat[];
}

const packed: readonly PlaneFormat[] = [{ bytes: 4, horizontal: 1, vertical: 1 }];
const luma: PlaneFormat = { bytes: 1, horizontal: 1, vertical: 1 };
const chroma: PlaneFormat = { bytes: 1, horizontal: 2, vertical: 2 };
const chromaPairs: PlaneFormat = { bytes: 2, horizontal: 2, vertical: 2 };

/** Best first: BGRx is what compositors and virtio-gpu use. */
export const PIXEL_FORMATS: readonly PixelFormat[] = [
  { name: "BGRx", drm: "XR24", planes: packed },
  { name: "BGRA", drm: "AR24", planes: packed },
  { name: "RGBx", drm: "XB24", planes: packed },
  { name: "RGBA", drm: "AB24", planes: packed },
  { name: "xRGB", drm: "BX24", planes: packed },
  { name: "ARGB", drm: "BA24", planes: packed },
  { name: "xBGR", drm: "RX24", planes: packed },
  { name: "ABGR", drm: "RA24", planes: packed },
  { name: "NV12", drm: "NV12", planes: [luma, chromaPairs] },
  { name: "I420", drm: "YU12", planes: [luma, chroma, chroma] },
];

/** DRM_FORMAT_* as a number (fourcc_code of drm_fourcc.h). */
export function fourcc(drm: string): number {
  return Buffer.from(drm.padEnd(4)).readUInt32LE(0);
}
