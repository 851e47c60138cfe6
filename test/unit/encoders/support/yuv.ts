/** Test pictures in NV12 and I420, computed here from RGB: nothing of ours judges our own conversion. */
import { fourcc, PIXEL_FORMATS } from "../../../../proto/formats.ts";
import type { RgbImage } from "./pattern.ts";

export type YuvName = "NV12" | "I420";

/** Kr and Kb of ISO/IEC 23091-2's matrix code points. */
const WEIGHTS: Readonly<Record<number, readonly [number, number]>> = {
  1: [0.2126, 0.0722],
  6: [0.299, 0.114],
  9: [0.2627, 0.0593],
};

export interface YuvPlane {
  readonly bytes: Buffer;
  readonly stride: number;
}

export function yuvFourcc(name: YuvName): number {
  const format = PIXEL_FORMATS.find((one) => one.name === name);
  if (format === undefined) throw new Error(`no format ${name}`);
  return fourcc(format.drm);
}

/** The planes of an image; `padding` garish bytes behind each row. */
export function packYuv(
  image: RgbImage,
  name: YuvName,
  matrix: number,
  fullRange: boolean,
  padding = 0,
): YuvPlane[] {
  const { width, height } = image;
  const [halfWidth, halfHeight] = [Math.ceil(width / 2), Math.ceil(height / 2)];
  const sample = sampler(image, matrix, fullRange);
  const luma = plane(width, height, padding, (x, y) => sample(x, y)[0]);
  const chroma = (x: number, y: number, component: 1 | 2): number => {
    let [sum, count] = [0, 0];
    for (let row = 2 * y; row < Math.min(height, 2 * y + 2); row++) {
      for (let column = 2 * x; column < Math.min(width, 2 * x + 2); column++) {
        sum += sample(column, row)[component];
        count++;
      }
    }
    return sum / count;
  };
  if (name === "NV12") {
    const pairs = plane(2 * halfWidth, halfHeight, padding, (x, y) => chroma(x >> 1, y, x % 2 === 0 ? 1 : 2));
    return [luma, pairs];
  }
  return [
    luma,
    plane(halfWidth, halfHeight, padding, (x, y) => chroma(x, y, 1)),
    plane(halfWidth, halfHeight, padding, (x, y) => chroma(x, y, 2)),
  ];
}

function plane(
  width: number,
  height: number,
  padding: number,
  at: (x: number, y: number) => number,
): YuvPlane {
  const stride = width + padding;
  const bytes = Buffer.alloc((height - 1) * stride + width, 0x5a);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) bytes[y * stride + x] = Math.round(Math.min(255, Math.max(0, at(x, y))));
  }
  return { bytes, stride };
}

function sampler({ width, data }: RgbImage, matrix: number, fullRange: boolean) {
  const [kr = 0, kb = 0] = WEIGHTS[matrix] ?? [];
  const [lumaScale, chromaScale, black] = fullRange ? [1, 1, 0] : [219 / 255, 224 / 255, 16];
  return (x: number, y: number): [number, number, number] => {
    const at = (y * width + x) * 3;
    const [r = 0, g = 0, b = 0] = data.subarray(at, at + 3);
    const luma = kr * r + (1 - kr - kb) * g + kb * b;
    return [
      black + lumaScale * luma,
      128 + (chromaScale * (b - luma)) / (2 * (1 - kb)),
      128 + (chromaScale * (r - luma)) / (2 * (1 - kr)),
    ];
  };
}
