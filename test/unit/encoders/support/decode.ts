/** Decodes with the ffmpeg command, which the tests need: nothing of ours judges our own stream. */
import { spawnSync } from "node:child_process";
import type { RgbImage } from "./pattern.ts";

function ffmpeg(options: readonly string[], input: Uint8Array): Buffer {
  const result = spawnSync("ffmpeg", ["-v", "error", "-f", "h264", "-i", "pipe:0", ...options, "pipe:1"], {
    input,
    maxBuffer: 2 ** 30,
  });
  if (result.error !== undefined) {
    throw new Error(`the ffmpeg command does not start (${result.error.message}): npm run setup`);
  }
  const complaints = result.stderr.toString();
  if (result.status !== 0 || complaints !== "") throw new Error(`ffmpeg: ${complaints || result.status}`);
  return result.stdout;
}

/**
 * The pictures of an H.264 stream as RGB, by the colour description in the stream itself: swscale takes the
 * matrix and range from each frame. Each chroma sample counts for its four pixels.
 */
export function decode(stream: Uint8Array, width: number, height: number): RgbImage[] {
  const bytes = ffmpeg(
    [
      ...["-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-f", "rawvideo"],
      ...["-sws_flags", "neighbor+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"],
    ],
    stream,
  );
  const size = width * height * 3;
  if (bytes.length % size !== 0)
    throw new Error(`${bytes.length} bytes are not pictures of ${width}x${height}`);
  return Array.from({ length: bytes.length / size }, (_, index) => ({
    width,
    height,
    data: bytes.subarray(index * size, (index + 1) * size),
  }));
}

/** The same coded pictures with something else in the VUI, e.g. "matrix_coefficients=1". */
export function rewriteVui(stream: Uint8Array, change: string): Buffer {
  return ffmpeg(["-c", "copy", "-bsf:v", `h264_metadata=${change}`, "-f", "h264"], stream);
}
