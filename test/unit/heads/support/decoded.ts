/** What viewers see: their access units, decoded by ffmpeg. */
import { spawnSync } from "node:child_process";
import type { TestViewer } from "../../viewer/support/test-viewer.ts";
import type { TestPicture } from "./bench.ts";

/**
 * The newest picture that a viewer has, of the newest configuration.
 *
 * @returns undefined before the first
 */
export function newestPicture(viewer: TestViewer): TestPicture | undefined {
  const { width, height } = viewer.all("configuration").at(-1) ?? {};
  const { units } = viewer;
  const key = units.map((unit) => unit.key ?? false).lastIndexOf(true);
  if (key < 0 || width === undefined || height === undefined) return undefined;
  const stream = Buffer.concat(units.slice(key).map(({ data }) => data ?? Buffer.alloc(0)));
  const quiet = ["-hide_banner", "-loglevel", "error"];
  const args = [...quiet, "-f", "h264", "-i", "-", "-f", "rawvideo", "-pix_fmt", "bgr0", "-"];
  const { stdout, status, stderr } = spawnSync("ffmpeg", args, { input: stream, maxBuffer: 1 << 28 });
  if (status !== 0) throw new Error(`ffmpeg: ${stderr}`);
  const bytes = width * height * 4;
  return { width, height, pixels: stdout.subarray(stdout.length - bytes) };
}

/** Mean difference of the colour bytes of two pictures; Infinity if their sizes differ. */
export function difference(a: TestPicture | undefined, b: TestPicture): number {
  if (a === undefined || a.width !== b.width || a.height !== b.height) return Number.POSITIVE_INFINITY;
  let sum = 0;
  for (let at = 0; at < b.pixels.length; at += 1) {
    if (at % 4 < 3) sum += Math.abs((a.pixels[at] ?? 0) - (b.pixels[at] ?? 0));
  }
  return sum / ((b.pixels.length / 4) * 3);
}
