/** Reads a <video>'s pixels through a canvas, for tests: over plain HTTP there is no other way. */
import type { Point } from "../unit.ts";

const canvas = document.createElement("canvas");

/** Brightness at each point, 0 to 255; -1 outside the picture. */
export function readElementLuma(video: HTMLVideoElement, points: readonly Point[]): number[] {
  const { videoWidth: width, videoHeight: height } = video;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (context === null) return points.map(() => -1);
  context.drawImage(video, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return points.map(({ x, y }) => (x >= width || y >= height ? -1 : (data[4 * (y * width + x) + 1] ?? -1)));
}
