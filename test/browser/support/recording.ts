/** H.264 and H.265 of the counting pattern, made by ffmpeg, in access units. */
import { spawn } from "node:child_process";
import { splitNalUnits } from "../../../viewer/page/player/mse/annexb.ts";
import { buildElement, programPath } from "../../element/support/programs.ts";

export const SIZE = { width: 640, height: 360 } as const;

export interface RecordedUnit {
  readonly key: boolean;
  readonly data: Uint8Array;
}

export interface Recording {
  readonly codec: "h264" | "h265";
  readonly units: readonly RecordedUnit[];
}

interface RecordingOptions {
  readonly frames: number;
  readonly keyInterval: number;
  readonly codec?: Recording["codec"];
}

/** NAL unit types: IDR slice and access unit delimiter (H.264 table 7-1, H.265 table 7-1). */
const TYPES = {
  h264: { of: (unit: Uint8Array) => (unit[0] ?? 0) & 0x1f, delimiter: 9, key: [5] },
  h265: { of: (unit: Uint8Array) => ((unit[0] ?? 0) >> 1) & 0x3f, delimiter: 35, key: [19, 20] },
} as const;

const START_CODE = Uint8Array.of(0, 0, 0, 1);

/** Frame N of the recording counts N. */
export async function record({ frames, keyInterval, codec = "h264" }: RecordingOptions): Promise<Recording> {
  buildElement("pattern");
  const { width, height } = SIZE;
  const drawing = ["--frames", String(frames), "--width", String(width), "--height", String(height)];
  const pattern = spawn(programPath("pattern"), drawing, { stdio: ["ignore", "pipe", "inherit"] });
  const input = [
    "-f",
    "rawvideo",
    "-pix_fmt",
    "bgr0",
    "-s",
    `${width}x${height}`,
    "-r",
    "10",
    "-i",
    "pipe:0",
  ];
  const rate = [
    "-preset",
    "ultrafast",
    "-tune",
    "zerolatency",
    "-pix_fmt",
    "yuv420p",
    "-g",
    String(keyInterval),
  ];
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
  const units = accessUnits(Buffer.concat(chunks), codec);
  if (status !== 0 || units.length !== frames) {
    throw new Error(`ffmpeg ended with ${status} and ${units.length} access units of ${frames}`);
  }
  return { codec, units };
}

function accessUnits(stream: Uint8Array, codec: Recording["codec"]): RecordedUnit[] {
  const types = TYPES[codec];
  const groups: Uint8Array[][] = [];
  for (const unit of splitNalUnits(stream)) {
    if (types.of(unit) === types.delimiter) groups.push([]);
    groups.at(-1)?.push(unit);
  }
  return groups.map((units) => ({
    key: units.some((unit) => (types.key as readonly number[]).includes(types.of(unit))),
    data: Buffer.concat(units.flatMap((unit) => [START_CODE, unit])),
  }));
}
