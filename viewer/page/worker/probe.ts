/** Reads a picture's pixels, for tests: from the decoded frame, because reading a canvas back slows the page down. */
import type { Point } from "../player/unit.ts";

/** Formats whose first plane is luma, one byte per pixel. */
const LUMA_FIRST: readonly (string | null)[] = ["I420", "I420A", "I422", "I444", "NV12"];

/**
 * The coded luma at each point, 0 to 255 (16 is video black), -1 outside the picture; the green channel of RGB frames.
 * Closes the frame.
 */
export async function readLuma(frame: VideoFrame, points: readonly Point[]): Promise<number[]> {
  const { format, visibleRect } = frame;
  const luma = LUMA_FIRST.includes(format);
  const pixelBytes = luma ? 1 : 4;
  const channel = luma ? 0 : 1;
  const pixels = new Uint8Array(frame.allocationSize());
  const [plane] = await frame.copyTo(pixels);
  frame.close();
  const { width, height } = visibleRect ?? { width: 0, height: 0 };
  return points.map(({ x, y }) => {
    if (plane === undefined || x >= width || y >= height) return -1;
    return pixels[plane.offset + y * plane.stride + x * pixelBytes + channel] ?? -1;
  });
}
