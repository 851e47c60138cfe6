/** What tests and the demo ask of the ffmpeg command: an H.264 decoder that is not ours. */
import { spawn, spawnSync } from "node:child_process";
import type { Readable } from "node:stream";

/** ffmpeg failed or is not there. */
export class FfmpegError extends Error {
  override readonly name = "FfmpegError";
}

const QUIET = ["-hide_banner", "-nostdin", "-loglevel", "error"];

function ffmpeg(args: readonly string[], maxBuffer = 1 << 30): Buffer {
  const { status, stdout, stderr, error } = spawnSync("ffmpeg", [...QUIET, ...args], { maxBuffer });
  if (error !== undefined) throw new FfmpegError(`ffmpeg does not start (${error.message}): npm run setup`);
  if (status !== 0)
    throw new FfmpegError(`ffmpeg ${args.join(" ")} failed: ${stderr.toString().slice(-2000)}`);
  return stdout;
}

/** Decodes the upper rows of a stream to 8-bit grey frames, one Buffer each, `width`×`rows` bytes. */
export function decodeGray(file: string, width: number, rows: number): Buffer[] {
  const crop = ["-vf", `crop=${width}:${rows}:0:0`];
  const output = ["-f", "rawvideo", "-pix_fmt", "gray", "-"];
  const raw = ffmpeg(["-i", file, "-fps_mode", "passthrough", ...crop, ...output]);
  const size = width * rows;
  return Array.from({ length: Math.floor(raw.length / size) }, (_, n) =>
    raw.subarray(n * size, (n + 1) * size),
  );
}

/** Counts the frames of a stream by decoding each. */
export function inspectStream(file: string) {
  const args = "-v error -select_streams v:0 -show_entries frame=key_frame -of csv=p=0".split(" ");
  const { status, stdout, stderr } = spawnSync("ffprobe", [...args, file], { maxBuffer: 1 << 26 });
  if (status !== 0) throw new FfmpegError(`ffprobe ${file} failed: ${stderr?.toString().slice(-2000)}`);
  if (stderr.length > 0)
    throw new FfmpegError(`${file} does not decode cleanly: ${stderr.toString().slice(0, 2000)}`);
  const flags = stdout.toString().match(/^[01]/gm) ?? [];
  return { frames: flags.length, keyFrames: flags.filter((flag) => flag === "1").length };
}

/**
 * Profile ("Constrained Baseline") and level (level_idc or general_level_idc) of an Annex B stream, as ffprobe understands
 * its flags.
 */
export function inspectVideo(stream: Uint8Array, demuxer: "h264" | "hevc") {
  const entries = ["-select_streams", "v:0", "-show_entries", "stream=profile,level", "-of", "json"];
  const { status, stdout, stderr } = spawnSync("ffprobe", ["-v", "error", ...entries, "-f", demuxer, "-"], {
    input: stream,
    encoding: "utf8",
  });
  if (status !== 0) throw new FfmpegError(`ffprobe of a stream failed: ${stderr?.slice(-2000)}`);
  const { streams }: { streams: { profile: string; level: number }[] } = JSON.parse(stdout);
  const [video] = streams;
  if (video === undefined) throw new FfmpegError("ffprobe finds no video in the stream");
  return video;
}

/**
 * Encodes ffmpeg's moving test picture to Annex B.
 *
 * @param pixelFormat ffmpeg's name, e.g. "yuv420p"
 * @param encoder its name and options, e.g. ["libx264", "-g", "30"]
 */
export function encodeTestPicture(
  { width, height, frames }: { readonly width: number; readonly height: number; readonly frames: number },
  pixelFormat: string,
  encoder: readonly string[],
): Buffer {
  const picture = `testsrc=size=${width}x${height}:rate=30`;
  const source = ["-f", "lavfi", "-i", picture, "-frames:v", String(frames)];
  const format = encoder[0] === "libx265" ? "hevc" : "h264";
  return ffmpeg([...source, "-pix_fmt", pixelFormat, "-c:v", ...encoder, "-f", format, "-"]);
}

/** Puts an Annex B stream of constant frame rate into an MP4, and one decoded frame of it into a PNG. */
export function makeShowpieces(file: string, fps: number, mp4: string, png: string, pngFrame: number): void {
  ffmpeg(["-y", "-r", String(fps), "-i", file, "-c", "copy", "-movflags", "+faststart", mp4]);
  ffmpeg(["-y", "-i", file, "-vf", `select=eq(n\\,${pngFrame})`, "-frames:v", "1", png]);
}

export interface Quality {
  /** Mean over all frames, dB; Infinity when identical. */
  readonly average: number;
  /** Of the worst frame. */
  readonly minimum: number;
}

/**
 * PSNR of a decoded stream against raw frames, both as RGB, so that a wrong matrix, range or channel order counts.
 *
 * @param reference `pixelFormat` frames (ffmpeg's name, e.g. "bgr0"), in the stream's order and number
 */
export async function psnr(
  file: string,
  reference: Readable,
  size: { readonly width: number; readonly height: number },
  pixelFormat: string,
): Promise<Quality> {
  const raw = ["-f", "rawvideo", "-pix_fmt", pixelFormat, "-s", `${size.width}x${size.height}`, "-r", "25"];
  const filter = "[0:v]settb=1/25,setpts=N,format=gbrp[a];[1:v]settb=1/25,setpts=N,format=gbrp[b];[a][b]psnr";
  const args = ["-hide_banner", "-loglevel", "info", "-r", "25", "-i", file, ...raw, "-i", "pipe:0"];
  const child = spawn("ffmpeg", [...args, "-lavfi", filter, "-f", "null", "-"], {
    stdio: ["pipe", "ignore", "pipe"],
  });
  let log = "";
  child.stderr.on("data", (text: Buffer) => {
    log = (log + text.toString()).slice(-20_000);
  });
  // ffmpeg may end before it has read everything; its status says why.
  child.stdin.on("error", () => undefined);
  reference.pipe(child.stdin);
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  const match = /PSNR .*average:(\S+) min:(\S+)/.exec(log);
  if (status !== 0 || match === null) throw new FfmpegError(`ffmpeg's psnr failed: ${log.slice(-2000)}`);
  const number = (text: string | undefined): number => (text === "inf" ? Infinity : Number(text));
  return { average: number(match[1]), minimum: number(match[2]) };
}
