/** Profile, level and VUI as ffmpeg reads them from the streams, and rate control as it comes out. */
import { randomFillSync } from "node:crypto";
import { afterEach, describe, expect, it } from "vitest";
import type { ProfileName } from "../../../common/codec.ts";
import type { EncoderConfiguration, EncoderSession } from "../../../host/encoders/encoder.ts";
import { EncoderUnavailableError } from "../../../host/encoders/encoder.ts";
import { inspectVideo } from "../../support/ffmpeg.ts";
import { traceHeaders } from "./support/decode.ts";
import { configurationOf, encodePattern, encodeSources, kbpsOf, openSession } from "./support/encode.ts";
import { geometryOf, linearPicture, releaseAll } from "./support/memory.ts";
import { FORMATS } from "./support/pattern.ts";
import { packYuv, yuvFourcc } from "./support/yuv.ts";

const RGB = { primaries: 9, transfer: 16, matrix: 0, fullRange: true } as const;
const YUV = { primaries: 1, transfer: 13, matrix: 1, fullRange: true } as const;

const GREY = { width: 320, height: 240, data: new Uint8Array(320 * 240 * 3).fill(128) };

afterEach(releaseAll);

/** Key frames of grey: enough for two sets of parameters. */
async function keyFrames(configuration: EncoderConfiguration): Promise<Uint8Array> {
  const encoder = configuration.codec === "h264" ? "libx264" : "libx265";
  const [luma, chroma] = packYuv(GREY, "NV12", 1, true).map(({ bytes }) => bytes);
  const planes = [0, 320 * 240].map((offset) => ({ offset, stride: 320 }));
  const { picture } =
    configuration.colorimetry.matrix === 0
      ? await greyPicture()
      : await linearPicture(
          Buffer.concat([luma ?? GREY.data, chroma ?? GREY.data]),
          geometryOf(yuvFourcc("NV12"), 320, 240, planes),
        );
  const recorder = await encodeSources(configuration, Array(4).fill(picture), { encoder, force: [2] });
  expect(recorder.errors).toEqual([]);
  expect(recorder.packets).toHaveLength(4);
  return recorder.stream;
}

const greyPicture = () =>
  linearPicture(Buffer.alloc(320 * 240 * 4, 128), geometryOf(FORMATS.XR24.fourcc, 320, 240));

/** ffprobe's name; profile_idc, constraint_set1_flag, entropy_coding_mode_flag, transform_8x8_mode_flag (or absent). */
const PROFILES = {
  "constrained-baseline": ["Constrained Baseline", 66, 1, 0, 0],
  main: ["Main", 77, 1, 1, 0],
  high: ["High", 100, 0, 1, 1],
} as const;
const RATES = [
  [30, 1],
  [30000, 1001],
  [0, 1],
] as const;
const ASPECTS = [
  [1, 1, { aspect_ratio_idc: 1 }],
  [4, 3, { aspect_ratio_idc: 14 }],
  [7, 5, { aspect_ratio_idc: 255, sar_width: 7, sar_height: 5 }],
] as const;

const combinations = (["constrained-baseline", "main", "high"] as const).flatMap((profile) =>
  RATES.flatMap(([numerator, denominator]) =>
    ASPECTS.flatMap(([x, y, aspect]) =>
      [RGB, YUV].map((colorimetry) => ({ profile, numerator, denominator, x, y, aspect, colorimetry })),
    ),
  ),
);

describe("libx264's sequence parameter set", () => {
  it.each(
    combinations,
  )("$profile, $numerator/$denominator, $x:$y, matrix $colorimetry.matrix", async (each) => {
    const { profile, numerator, denominator, colorimetry } = each;
    const [framerate, pixelAspectRatio] = [
      { numerator, denominator },
      { numerator: each.x, denominator: each.y },
    ];
    const stream = await keyFrames(configurationOf({ profile, framerate, pixelAspectRatio, colorimetry }));
    const headers = traceHeaders(stream, "h264");
    const rgb = colorimetry === RGB;
    const fixed = numerator > 0;
    const [name, profile_idc, constraint_set1_flag, entropy_coding_mode_flag, transform] = PROFILES[profile];
    const expected: Record<string, number> = {
      profile_idc,
      constraint_set1_flag,
      entropy_coding_mode_flag,
      level_idc: 21,
      vui_parameters_present_flag: 1,
      aspect_ratio_info_present_flag: 1,
      ...each.aspect,
      overscan_info_present_flag: 0,
      video_signal_type_present_flag: 1,
      video_format: 5,
      video_full_range_flag: rgb ? 0 : 1,
      colour_description_present_flag: 1,
      colour_primaries: colorimetry.primaries,
      transfer_characteristics: colorimetry.transfer,
      matrix_coefficients: rgb ? 6 : 1,
      chroma_loc_info_present_flag: rgb ? 1 : 0,
      ...(rgb && { chroma_sample_loc_type_top_field: 1, chroma_sample_loc_type_bottom_field: 1 }),
      timing_info_present_flag: fixed ? 1 : 0,
      ...(fixed && { num_units_in_tick: denominator, time_scale: 2 * numerator, fixed_frame_rate_flag: 1 }),
      nal_hrd_parameters_present_flag: 0,
      vcl_hrd_parameters_present_flag: 0,
      pic_struct_present_flag: 0,
      bitstream_restriction_flag: 1,
      max_num_reorder_frames: 0,
      max_dec_frame_buffering: headers.get("max_num_ref_frames")?.[0] ?? -1,
    };
    // All sets of the stream are the same, so there is one value of each.
    for (const [field, value] of Object.entries(expected)) expect(headers.get(field), field).toEqual([value]);
    const absent = [...(fixed ? [] : ["num_units_in_tick", "time_scale", "fixed_frame_rate_flag"])];
    if (!rgb) absent.push("chroma_sample_loc_type_top_field");
    for (const field of absent) expect(headers.get(field), field).toBeUndefined();
    expect(headers.get("transform_8x8_mode_flag") ?? [0]).toEqual([transform]);
    expect(inspectVideo(stream, "h264")).toMatchObject({ profile: name, level: 21 });
  });
});

describe("the level", () => {
  it.each([
    ["h264", [], 21],
    ["h264", [42, 51], 42],
    ["h264", [62], 62],
    ["h265", [], 90],
    ["h265", [123], 123],
    ["h265", [186, 156], 156],
  ] as const)("of %s with levels %j is %i", async (codec, levels, level) => {
    const stream = await keyFrames(configurationOf({ codec, levels }));
    const [field, demuxer] =
      codec === "h264" ? (["level_idc", "h264"] as const) : (["general_level_idc", "hevc"] as const);
    expect(traceHeaders(stream, demuxer).get(field)).toEqual([level]);
  });

  it("1b is level 1.1 with constraint_set3_flag in Main, 9 in High", async () => {
    const tiny = { width: 320, height: 240, levels: [9], bitrateKbps: 100 } as const;
    await expect(keyFrames(configurationOf(tiny))).rejects.toThrow(
      /needs H.264 level 1.3, levels allows 1b: /,
    );
    const of = async (profile: ProfileName) => {
      const configuration = configurationOf({
        ...{ profile, levels: [9], bitrateKbps: 100, width: 128, height: 96 },
        framerate: { numerator: 15, denominator: 1 },
      });
      const headers = traceHeaders((await encodePattern(configuration, 1)).recorder.stream, "h264");
      return ["level_idc", "constraint_set3_flag"].map((field) => headers.get(field)?.[0]);
    };
    expect(await of("main")).toEqual([11, 1]);
    expect(await of("high")).toEqual([9, 0]);
  });

  it("that is insufficient is rejected before the encoder opens", async () => {
    const rejected = keyFrames(configurationOf({ levels: [10, 13] }));
    await expect(rejected).rejects.toBeInstanceOf(EncoderUnavailableError);
    await expect(rejected).rejects.toThrow(
      /needs H.264 level 2.1, levels allows 1, 1.3: .*768000 bits a second/,
    );
    await expect(keyFrames(configurationOf({ codec: "h265", levels: [60] }))).rejects.toThrow(
      /needs H.265 level 3, levels allows 2: /,
    );
  });
});

describe("libx265's own VUI", () => {
  it.each([
    [30000, 1001, 1],
    [0, 1, 0],
  ])("%i/%i: timing_info_present_flag", async (numerator, denominator, present) => {
    const stream = await keyFrames(configurationOf({ codec: "h265", framerate: { numerator, denominator } }));
    const headers = traceHeaders(stream, "hevc");
    expect(headers.get("vui_timing_info_present_flag")).toEqual([present]);
    expect(headers.get("vui_time_scale")).toEqual(present === 1 ? [numerator] : undefined);
    expect(headers.get("general_profile_idc")).toEqual([1]);
    expect(headers.get("general_tier_flag")).toEqual([0]);
    expect(headers.get("sps_max_num_reorder_pics")).toEqual([0]);
  });
});

describe("rate control of libx264", () => {
  /** kbit/s of each stretch of 60 frames (two seconds): a still picture and noise by turns. */
  async function stretches(
    configuration: EncoderConfiguration,
    count: number,
    before: (stretch: number, session: EncoderSession) => void = () => {},
  ): Promise<{ kbps: number[]; keys: readonly number[] }> {
    const noise = Buffer.alloc(320 * 240 * 4);
    const { picture, memory } = await greyPicture();
    const recorder = await encodeSources(configuration, Array(60 * count).fill(picture), {
      before(frame, session) {
        const stretch = Math.floor(frame / 60);
        if (frame % 60 === 0) before(stretch, session);
        if (stretch % 2 === 1) memory.write(0, randomFillSync(noise));
      },
    });
    const kbps = Array.from({ length: count }, (_, at) => kbpsOf(recorder, at * 60, at * 60 + 60));
    return { kbps, keys: recorder.keys };
  }
  const CONFIGURATION = configurationOf({ bitrateKbps: 1000, keyframeInterval: 100_000 });

  it("cbr never exceeds the rate by more than the buffer; vbr spends what a still picture has saved", async () => {
    const cbr = await stretches(CONFIGURATION, 4);
    const vbr = await stretches({ ...CONFIGURATION, rateControl: "vbr" }, 4);
    // A buffer of one second may come on top in two seconds: half of the rate.
    expect(Math.max(...cbr.kbps)).toBeLessThan(1000 * 1.5 * 1.1);
    expect(vbr.kbps[1]).toBeGreaterThan((cbr.kbps[1] ?? 0) * 1.2);
    expect(Math.max(...vbr.kbps)).toBeLessThan(2000 * 1.5 * 1.1);
  });

  it("cbr takes another rate at once, without a key frame", async () => {
    // A level with room for both, so that it stays.
    const cbr = { ...CONFIGURATION, levels: [40] };
    const { kbps, keys } = await stretches(cbr, 6, (stretch, session) => {
      if (stretch !== 4) return;
      expect(session.reconfigure({ ...cbr, bitrateKbps: 3000 })).toBe(true);
      expect(session.description.bitrateKbps).toBe(3000);
    });
    expect(keys).toEqual([0]);
    expect(kbps[5]).toBeGreaterThan((kbps[3] ?? 0) * 2);
    expect(kbps[5]).toBeLessThan(3000 * 1.5 * 1.1);
  });

  it("vbr takes another rate at once, with a key frame", async () => {
    const vbr = { ...CONFIGURATION, rateControl: "vbr" } as const;
    const { kbps, keys } = await stretches(vbr, 6, (stretch, session) => {
      if (stretch === 4) expect(session.reconfigure({ ...vbr, bitrateKbps: 300 })).toBe(true);
    });
    expect(keys).toEqual([0, 240]);
    expect(kbps[5]).toBeLessThan((kbps[3] ?? 0) / 2);
  });

  it("needs a new session for another rate control, profile or level", async () => {
    const { session } = await openSession(CONFIGURATION);
    const changed = (changes: Partial<EncoderConfiguration>): boolean =>
      session.reconfigure({ ...CONFIGURATION, ...changes });
    expect(changed({ rateControl: "vbr" })).toBe(false);
    expect(changed({ profile: "high" })).toBe(false);
    expect(changed({ framerate: { numerator: 0, denominator: 1 } })).toBe(false);
    // Level 2 has 2 Mbit/s.
    expect(changed({ bitrateKbps: 2000, profile: "constrained-baseline" })).toBe(true);
    expect(changed({ bitrateKbps: 2001 })).toBe(false);
    expect(changed({ levels: [31] })).toBe(false);
    expect(changed({ levels: [20, 31], bitrateKbps: 100 })).toBe(true);
    expect(() => changed({ levels: [20], bitrateKbps: 2001 })).toThrow(EncoderUnavailableError);
    expect(session.description).toMatchObject({ bitrateKbps: 100, keyframeInterval: 100_000 });
  });
});
