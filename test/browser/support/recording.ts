/** Encodes the counting pattern with ffmpeg, in access units. */
import { spawn } from "node:child_process";
import { buildElement, programPath } from "../../element/support/programs.ts";
import { accessUnits, type EncodedUnit } from "../../unit/viewer/support/streams.ts";

export const SIZE = { width: 640, height: 360 } as const;

export interface Recording {
  readonly codec: "h264" | "h265";
  readonly units: readonly EncodedUnit[];
}

export interface RecordingOptions {
  readonly frames: number;
  readonly keyInterval: number;
  readonly codec?: Recording["codec"];
}

/** Frame N of the recording counts N. */
export async function record({ frames, keyInterval, codec = "h264" }: RecordingOptions): Promise<Recording> {
  buildElement("pattern");
  const { width, height } = SIZE;
  const drawing = ["--frames", String(frames), "--width", String(width), "--height", String(height)];
  const pattern = spawn(programPath("pattern"), drawing, { stdio: ["ignore", "pipe", "inherit"] });
  const input = `-f rawvideo -pix_fmt bgr0 -s ${width}x${height} -r 10 -i pipe:0`.split(" ");
  const rate = `-preset ultrafast -tune zerolatency -pix_fmt yuv420p -g ${keyInterval}`.split(" ");
  const keys = `keyint=${keyInterval}:min-keyint=${keyInterval}:scenecut=0:aud=1:repeat-headers=1`;
  const encoder =
    codec === "h264"
      ? ["-c:v", "libx264", ...rate, "-x264-params", `${keys}:rc-lookahead=0:bframes=0`, "-f", "h264"]
      : ["-c:v", "libx265", ...rate, "-x265-params", `${keys}:log-level=error`, "-f", "hevc"];
  const ffmpeg = spawn("ffmpeg", ["-hide_banner", "-loglevel", "error", ...input, ...encoder, "pipe:1"], {
    stdio: [pattern.stdout, "pipe", "inherit"],
  });
  const chunks: Buffer[] = [];
  ffmpeg.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  const status = await new Promise((resolve, reject) => {
    ffmpeg.on("error", reject);
    ffmpeg.on("close", resolve);
  });
  const units = accessUnits(codec, Buffer.concat(chunks)).map((data, index) => ({
    key: index % keyInterval === 0,
    data,
  }));
  if (status !== 0 || units.length !== frames) {
    throw new Error(`ffmpeg ended with ${status} and ${units.length} access units of ${frames}`);
  }
  return { codec, units };
}
