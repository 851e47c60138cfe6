import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { describeStream, StreamDescriptionError } from "../../../viewer/server/stream/description.ts";
import { encodeTestPicture, inspectVideo } from "../../support/ffmpeg.ts";
import { encodeUnits } from "./support/streams.ts";

interface Case {
  readonly width: number;
  readonly height: number;
  readonly pixels?: string;
  readonly options?: readonly string[];
  /** Of the codec string, without level. */
  readonly profile: RegExp;
}

const profile = (name: string): string[] => ["-profile:v", name];
const x264 = (parameters: string): string[] => ["-x264-params", parameters];

const x265 = (options: readonly string[]): string[] => [
  "libx265",
  "-x265-params",
  ["log-level=0", ...options].join(":"),
];

const H264: readonly Case[] = [
  { width: 320, height: 180, options: profile("baseline"), profile: /^avc1\.42[CE]0/ },
  { width: 640, height: 360, options: profile("main"), profile: /^avc1\.4D[04]0/ },
  { width: 1920, height: 1080, options: profile("high"), profile: /^avc1\.640[0C]/ },
  { width: 1366, height: 768, options: [...profile("high"), ...x264("cqm=jvt")], profile: /^avc1\.640[0C]/ },
  { width: 642, height: 362, options: profile("high"), profile: /^avc1\.640[0C]/ },
  { width: 16, height: 16, profile: /^avc1\.640[0C]/ },
  { width: 720, height: 576, options: x264("interlaced=1"), profile: /^avc1\.6400/ },
  { width: 720, height: 540, options: x264("interlaced=1"), profile: /^avc1\.6400/ },
  { width: 642, height: 363, pixels: "yuv422p", profile: /^avc1\.7A0/ },
  { width: 641, height: 363, pixels: "yuv444p", profile: /^avc1\.F40/ },
  { width: 641, height: 363, pixels: "gray", profile: /^avc1\.640/ },
  { width: 642, height: 362, pixels: "yuv420p10le", profile: /^avc1\.6E0/ },
  { width: 3840, height: 2160, profile: /^avc1\.640[0C]/ },
];

const H265: readonly Case[] = [
  { width: 320, height: 180, profile: /^hev1\.1\.6\.L\d+\.90$/ },
  { width: 1920, height: 1080, profile: /^hev1\.1\.6\.L\d+\.90$/ },
  { width: 642, height: 362, profile: /^hev1\.1\.6\.L\d+\.90$/ },
  // Two temporal sub-layers.
  { width: 642, height: 362, options: ["temporal-layers=1"], profile: /^hev1\.1\.6\.L\d+\.90$/ },
  { width: 642, height: 362, pixels: "yuv420p10le", profile: /^hev1\.2\.4\.L\d+\.90$/ },
  { width: 642, height: 363, pixels: "yuv422p", profile: /^hev1\.4\.10\.L\d+\.9[CD](\.\d+)?$/ },
  { width: 641, height: 363, pixels: "yuv444p", profile: /^hev1\.4\.10\.L\d+\.9[CE](\.\d+)?$/ },
];

const title = ({ width, height, pixels = "yuv420p", options = [] }: Case): string =>
  `${width}x${height} ${pixels} ${options.join(" ")}`;

/** Exp-Golomb code of a number (H.264 9.1). */
function ue(value: number): string {
  const binary = (value + 1).toString(2);
  return "0".repeat(binary.length - 1) + binary;
}

/** A parameter set of these bits, in Annex B. */
function h264Sps(bits: string): Buffer {
  const whole = `${bits}1`.padEnd(Math.ceil((bits.length + 1) / 8) * 8, "0");
  const bytes = (whole.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2));
  return Buffer.from([0, 0, 1, 0x67, ...bytes]);
}

describe("the description of a stream", () => {
  it.each([
    ...H264.map((one) => ["h264", title(one), one, ["libx264", ...(one.options ?? [])]] as const),
    ...H265.map((one) => ["h265", title(one), one, x265(one.options ?? [])] as const),
  ])("%s %s", (codec, _title, { width, height, pixels = "yuv420p", ...one }, encoder) => {
    const stream = encodeTestPicture({ width, height, frames: 2 }, pixels, [...encoder]);
    const description = describeStream(codec, stream);
    expect(description).toMatchObject({ width, height });
    expect(description.codec).toMatch(one.profile);
    const { level } = inspectVideo(stream, codec === "h264" ? "h264" : "hevc");
    const expected =
      codec === "h264" ? /^avc1\.[0-9A-F]{4}([0-9A-F]{2})$/ : /^hev1\.[0-9A-F.]+\.L(\d+)(\.[0-9A-F]+)*$/;
    const shown = expected.exec(description.codec)?.[1] ?? "";
    expect(Number.parseInt(shown, codec === "h264" ? 16 : 10)).toBe(level);
  });

  it("rejects streams without parameter sets before the picture", () => {
    const [key, delta] = encodeUnits("h264", { width: 64, height: 64, frames: 2, group: 2 });
    const late = Buffer.concat([delta?.data ?? Buffer.alloc(0), key?.data ?? Buffer.alloc(0)]);
    const deltaAlone = delta?.data ?? Buffer.alloc(0);
    for (const bytes of [late, deltaAlone, Buffer.alloc(0), Buffer.from([0, 0, 1]), Buffer.alloc(1 << 20)]) {
      expect(() => describeStream("h264", bytes)).toThrow(StreamDescriptionError);
    }
    // The other codec's.
    expect(() => describeStream("h265", key?.data ?? Buffer.alloc(0))).toThrow(StreamDescriptionError);
  });

  it("rejects an endless parameter set", () => {
    const endless = Buffer.concat([Buffer.from([0, 0, 1, 0x67]), Buffer.alloc(1 << 20, 0x64)]);
    expect(() => describeStream("h264", endless)).toThrow(/4096/);
  });

  it("rejects invalid sizes, naming them", () => {
    // Baseline, level 3; id 0, log2_max_frame_num 4, order type 2, one reference, no gaps; then the sizes under test.
    const sps = (bits: string): Buffer =>
      h264Sps(`010000100000000000011110${ue(0)}${ue(0)}${ue(2)}${ue(1)}0${bits}`);
    const sized = (width: number, height: number, crop = "0"): Buffer =>
      sps(`${ue(width)}${ue(height)}11${crop}0`);
    expect(describeStream("h264", sized(3, 2))).toEqual({ codec: "avc1.42001E", width: 64, height: 48 });
    const cropped = sized(3, 2, `1${ue(1)}${ue(2)}${ue(3)}${ue(4)}`);
    expect(describeStream("h264", cropped)).toMatchObject({ width: 58, height: 34 });
    expect(() => describeStream("h264", sized(1024, 2))).toThrow(/16400x48 is larger than 16384/);
    expect(() => describeStream("h264", sized(70_000, 2))).toThrow(/pic_width_in_mbs_minus1 is 70000/);
    const nothing = sized(3, 2, `1${ue(32)}${ue(0)}${ue(0)}${ue(0)}`);
    expect(() => describeStream("h264", nothing)).toThrow(/nothing is left/);
    const endless = sps("0".repeat(40));
    expect(() => describeStream("h264", endless)).toThrow(/pic_width_in_mbs_minus1 has more than 32 bits/);
  });

  it("reads past scaling lists: whole, ended early, and absent", () => {
    // High, level 3.1; id 0, 4:2:0, 8 bits; eight lists: all of the first, the second up to a scale of 0, no others.
    const lists = `1${"1".repeat(16)}1${ue(16)}${"0".repeat(6)}`;
    const begin = `011001000000000000011111${ue(0)}${ue(1)}${ue(0)}${ue(0)}0`;
    const end = `${ue(0)}${ue(2)}${ue(1)}0${ue(3)}${ue(2)}1100`;
    const description = { codec: "avc1.64001F", width: 64, height: 48 };
    expect(describeStream("h264", h264Sps(`${begin}1${lists}${end}`))).toEqual(description);
    expect(describeStream("h264", h264Sps(`${begin}0${end}`))).toEqual(description);
  });

  it("describes or rejects any parameter set", () => {
    const streams = [
      { codec: "h264", data: encodeUnits("h264", { width: 64, height: 64, frames: 1, group: 1 })[0]?.data },
      { codec: "h265", data: encodeUnits("h265", { width: 64, height: 64, frames: 1, group: 1 })[0]?.data },
    ] as const;
    const changes = fc.array(fc.tuple(fc.integer({ min: 0, max: 120 }), fc.integer({ min: 0, max: 255 })), {
      minLength: 1,
      maxLength: 8,
    });
    fc.assert(
      fc.property(fc.constantFrom(...streams), changes, fc.nat(200), ({ codec, data }, places, length) => {
        const bytes = Buffer.from(data ?? []).subarray(0, length);
        for (const [at, value] of places) if (at < bytes.length) bytes[at] = value;
        try {
          const { width, height } = describeStream(codec, bytes);
          expect(Math.min(width, height)).toBeGreaterThan(0);
          expect(Math.max(width, height)).toBeLessThanOrEqual(16_384);
        } catch (error) {
          expect(error).toBeInstanceOf(StreamDescriptionError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
