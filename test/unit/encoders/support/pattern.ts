/** Test pictures: what an error of matrix, range, channel order, stride or crop changes visibly. */

import { fourcc } from "../../../../proto/formats.ts";

/** Pixels as bytes R, G, B without padding. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** Saturated colours, whose errors of matrix and channel order are largest; black and white for the range. */
const PATCHES: readonly (readonly [number, number, number])[] = [
  [255, 0, 0],
  [0, 255, 0],
  [0, 0, 255],
  [255, 255, 0],
  [0, 255, 255],
  [255, 0, 255],
  [0, 0, 0],
  [255, 255, 255],
];

/**
 * A gradient, flat patches above, grey strokes as of text below, and a square that moves with `frame`.
 *
 * Colour only changes from one pair of pixels to the next, so 4:2:0 chroma takes nothing away and what is measured
 * is the conversion and the coding; brightness also changes from pixel to pixel.
 */
export function drawPattern(width: number, height: number, frame: number): RgbImage {
  const data = new Uint8Array(width * height * 3);
  const patch = even(Math.max(2, Math.ceil(width / PATCHES.length)));
  const side = even(Math.max(4, height >> 3));
  const left = even((frame * 4) % Math.max(2, width - side));
  const top = even((height >> 1) + ((frame * 2) % Math.max(2, height >> 2)));
  const patchesEnd = even(height >> 2);
  const strokesBegin = even(height - (height >> 3));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      data.set(pixel(x, y), (y * width + x) * 3);
    }
  }
  return { width, height, data };

  function pixel(x: number, y: number): readonly [number, number, number] {
    if (x >= left && x < left + side && y >= top && y < top + side) return [220, 200, 60];
    if (y < patchesEnd) return PATCHES[Math.floor(x / patch) % PATCHES.length] ?? [0, 0, 0];
    if (y >= strokesBegin) return x % 3 === 0 && (y >> 2) % 2 === 0 ? [40, 40, 40] : [215, 215, 215];
    const across = Math.round((255 * even(x)) / (width - 1));
    return [across, Math.round((255 * even(y)) / (height - 1)), 255 - across];
  }
}

const even = (value: number): number => value & ~1;

/** Where the bytes of an RGB pixel stand, by DRM format. */
export const FORMATS = {
  XR24: { fourcc: fourcc("XR24"), r: 2, g: 1, b: 0, x: 3 },
  AR24: { fourcc: fourcc("AR24"), r: 2, g: 1, b: 0, x: 3 },
  XB24: { fourcc: fourcc("XB24"), r: 0, g: 1, b: 2, x: 3 },
  AB24: { fourcc: fourcc("AB24"), r: 0, g: 1, b: 2, x: 3 },
  BX24: { fourcc: fourcc("BX24"), r: 1, g: 2, b: 3, x: 0 },
  BA24: { fourcc: fourcc("BA24"), r: 1, g: 2, b: 3, x: 0 },
  RX24: { fourcc: fourcc("RX24"), r: 3, g: 2, b: 1, x: 0 },
  RA24: { fourcc: fourcc("RA24"), r: 3, g: 2, b: 1, x: 0 },
} as const;
export type FormatName = keyof typeof FORMATS;

/** Where an image stands in a larger picture in memory. */
export interface Placement {
  readonly format: FormatName;
  /** Bytes ahead of the picture. */
  readonly offset: number;
  readonly stride: number;
  /** The image's first pixel in the picture. */
  readonly x: number;
  readonly y: number;
  /** Size of the picture around the image. */
  readonly width: number;
  readonly height: number;
}

/** The bytes of the picture; all that is not the image is garish, so that reading it shows. */
export function pack(image: RgbImage, place: Placement): Buffer {
  const { r, g, b, x: unused } = FORMATS[place.format];
  const bytes = Buffer.alloc(place.offset + (place.height - 1) * place.stride + place.width * 4, 0x5a);
  for (let y = 0; y < image.height; y++) {
    for (let x = 0; x < image.width; x++) {
      const to = place.offset + (place.y + y) * place.stride + (place.x + x) * 4;
      const from = (y * image.width + x) * 3;
      bytes[to + r] = image.data[from] ?? 0;
      bytes[to + g] = image.data[from + 1] ?? 0;
      bytes[to + b] = image.data[from + 2] ?? 0;
      bytes[to + unused] = (x * 7) & 0xff; // alpha means nothing
    }
  }
  return bytes;
}

/** Peak signal-to-noise ratio in dB over the image's pixels; `decoded` may be larger (rounded up to even sizes). */
export function psnr(image: RgbImage, decoded: RgbImage): number {
  let sum = 0;
  for (let y = 0; y < image.height; y++) {
    for (let i = 0; i < image.width * 3; i++) {
      const difference =
        (image.data[y * image.width * 3 + i] ?? 0) - (decoded.data[y * decoded.width * 3 + i] ?? 0);
      sum += difference * difference;
    }
  }
  return 10 * Math.log10((255 * 255 * image.width * image.height * 3) / sum);
}
