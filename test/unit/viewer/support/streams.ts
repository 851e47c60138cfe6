/** Real streams, cut into access units. */
import type { CodecName } from "../../../../common/codec.ts";
import { encodeTestPicture } from "../../../support/ffmpeg.ts";

export interface EncodedUnit {
  readonly key: boolean;
  readonly data: Buffer;
}

export interface StreamRequest {
  readonly width: number;
  readonly height: number;
  readonly frames: number;
  /** Frames from one key frame to the next. */
  readonly group: number;
}

const START_CODE = Buffer.from([0, 0, 1]);
const DELIMITER: Readonly<Record<CodecName, number>> = { h264: 9, h265: 35 };

/** A stream from libx264 or libx265, without reordering. */
export function encodeUnits(
  codec: CodecName,
  { width, height, frames, group }: StreamRequest,
): EncodedUnit[] {
  const name = codec === "h264" ? "x264" : "x265";
  const parameters = `aud=1:keyint=${group}:min-keyint=${group}:scenecut=0:repeat-headers=1:bframes=0:log-level=0`;
  const fast = "-preset ultrafast -tune zerolatency".split(" ");
  const encoder = [`lib${name}`, ...fast, `-${name}-params`, parameters];
  const units = accessUnits(codec, encodeTestPicture({ width, height, frames }, "yuv420p", encoder));
  return units.map((data, index) => ({ key: index % group === 0, data }));
}

/** Cuts a stream whose access units all start with a start code of four bytes and a delimiter. */
export function accessUnits(codec: CodecName, stream: Buffer): Buffer[] {
  const starts: number[] = [];
  for (let at = stream.indexOf(START_CODE); at >= 0; at = stream.indexOf(START_CODE, at + 3)) {
    const header = stream[at + 3] ?? 0;
    const type = codec === "h264" ? header & 0x1f : (header >> 1) & 0x3f;
    if (type === DELIMITER[codec]) starts.push(at - 1);
  }
  return starts.map((start, index) => stream.subarray(start, starts[index + 1]));
}
