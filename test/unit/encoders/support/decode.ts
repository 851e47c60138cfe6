/** Decodes with the ffmpeg command, which the tests need: nothing of ours judges our own stream. */
import { spawnSync } from "node:child_process";
import type { RgbImage } from "./pattern.ts";

export type Demuxer = "h264" | "hevc";

function run(level: "error" | "info", options: readonly string[], input: Uint8Array, demuxer: Demuxer) {
  const args = ["-v", level, "-f", demuxer, "-i", "pipe:0", ...options, "pipe:1"];
  const result = spawnSync("ffmpeg", args, { input, maxBuffer: 2 ** 30 });
  if (result.error !== undefined) {
    throw new Error(`the ffmpeg command does not start (${result.error.message}): npm run setup`);
  }
  return result;
}

function ffmpeg(options: readonly string[], input: Uint8Array, demuxer: Demuxer): Buffer {
  const { status, stderr, stdout } = run("error", options, input, demuxer);
  const complaints = stderr.toString();
  if (status !== 0 || complaints !== "") throw new Error(`ffmpeg: ${complaints || status}`);
  return stdout;
}

/**
 * The pictures of a stream as RGB, by the colour description in the stream itself: swscale takes the
 * matrix and range from each frame. Each chroma sample counts for its four pixels.
 */
export function decode(
  stream: Uint8Array,
  width: number,
  height: number,
  demuxer: Demuxer = "h264",
): RgbImage[] {
  const bytes = ffmpeg(
    [
      ...["-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-f", "rawvideo"],
      ...["-sws_flags", "neighbor+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"],
    ],
    stream,
    demuxer,
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
  return ffmpeg(["-c", "copy", "-bsf:v", `h264_metadata=${change}`, "-f", "h264"], stream, "h264");
}

/**
 * Every syntax element of the headers by ffmpeg's parser (the bitstream filter trace_headers); of an element that
 * occurs more than once all its different values.
 */
export function traceHeaders(stream: Uint8Array, demuxer: Demuxer): ReadonlyMap<string, readonly number[]> {
  const options = ["-c", "copy", "-bsf:v", "trace_headers", "-f", "null"];
  const trace = run("info", options, stream, demuxer).stderr.toString();
  const values = new Map<string, number[]>();
  for (const [, name = "", value] of trace.matchAll(
    /\[trace_headers[^\]]*\] \d+ +(\w+)\S* +[01]+ = (-?\d+)/g,
  )) {
    values.set(name, [...new Set([...(values.get(name) ?? []), Number(value)])]);
  }
  return values;
}

/** The first sequence parameter set of an H.264 stream; undefined or false: it does not state the field. */
export function spsOf(stream: Uint8Array) {
  const headers = traceHeaders(stream, "h264");
  const field = (name: string): number | undefined => headers.get(name)?.[0];
  const size = (units: string, ...crops: readonly string[]): number =>
    ((field(units) ?? 0) + 1) * 16 - 2 * crops.reduce((sum, crop) => sum + (field(crop) ?? 0), 0);
  return {
    profile: field("profile_idc"),
    width: size("pic_width_in_mbs_minus1", "frame_crop_left_offset", "frame_crop_right_offset"),
    height: size("pic_height_in_map_units_minus1", "frame_crop_top_offset", "frame_crop_bottom_offset"),
    fullRange: field("video_full_range_flag") === 1,
    primaries: field("colour_primaries"),
    transfer: field("transfer_characteristics"),
    matrix: field("matrix_coefficients"),
    maxReorderFrames: field("max_num_reorder_frames"),
  };
}
