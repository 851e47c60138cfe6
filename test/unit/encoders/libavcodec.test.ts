import { afterEach, describe, expect, it } from "vitest";
import type { CodecName } from "../../../common/codec.ts";
import { HEVC_NAL, hevcNalTypes, NAL, nalTypes } from "./support/annexb.ts";
import { decode, rewriteVui, spsOf, traceHeaders } from "./support/decode.ts";
import { configurationOf, type Encoded, encodePattern, kbpsOf, reconfiguring } from "./support/encode.ts";
import { releaseAll } from "./support/memory.ts";
import { type FormatName, type Placement, psnr, type RgbImage } from "./support/pattern.ts";

const FRAMES = 60;
/** dB against the RGB source: what every picture reaches, and what no picture with wrong colours does. */
const LEAST_PSNR = { h264: 42, h265: 40 };
const WRONG_PSNR = 32;
const H265 = configurationOf({ codec: "h265" });
const LIBX265 = { encoder: "libx265" } as const;

afterEach(releaseAll);

function decodedOf({ recorder, description }: Encoded, codec: CodecName = "h264"): RgbImage[] {
  const demuxer = codec === "h264" ? "h264" : "hevc";
  return decode(recorder.stream, description?.width ?? 0, description?.height ?? 0, demuxer);
}

function worst({ images }: Encoded, decoded: readonly RgbImage[]): number {
  expect(decoded).toHaveLength(images.length);
  return Math.min(...images.map((image, index) => psnr(image, decoded[index] as RgbImage)));
}

/** Expects every decoded picture to be as drawn. */
function expectPixels(encoded: Encoded, codec: CodecName = "h264"): void {
  expect(worst(encoded, decodedOf(encoded, codec))).toBeGreaterThan(LEAST_PSNR[codec]);
}

describe("libx264 preserves the pixels, by the stream's own colour description", () => {
  const LARGER = { width: 400, height: 300, stride: 1616 };
  const cases: [string, number, number, Partial<Placement>][] = [
    ["XR24 320x240", 320, 240, {}],
    ["AR24 with a padded stride and an offset", 320, 240, { format: "AR24", stride: 1600, offset: 4096 }],
    ["XB24 with an odd stride and offset", 322, 242, { format: "XB24", stride: 1301, offset: 4099 }],
    ["AB24 of odd size", 161, 121, { format: "AB24" }],
    ["odd width", 333, 240, {}],
    ["odd height", 320, 241, {}],
    ["an odd part of a larger picture", 319, 239, { ...LARGER, x: 33, y: 17, offset: 12 }],
    ["the smallest size", 16, 16, {}],
    ["an odd size near the smallest", 17, 19, { format: "XB24" }],
    ["720p", 1280, 720, { format: "XB24" }],
  ];
  it.each(cases)("%s", async (_name, width, height, place) => {
    const bitrateKbps = Math.max(2000, Math.round((width * height) / 40));
    const frames = width > 1000 ? 12 : FRAMES;
    const encoded = await encodePattern(configurationOf({ width, height, bitrateKbps }), frames, place);
    expect(encoded.recorder.packets.map(({ frame }) => frame)).toEqual(encoded.images.map((_, i) => i));
    expectPixels(encoded);
  });

  it.each(["XR24", "AB24"] as const)("full range, when asked: %s", async (format) => {
    const encoded = await encodePattern(configurationOf(), 10, { format }, { fullRange: true });
    expect(spsOf(encoded.recorder.stream).fullRange).toBe(true);
    expectPixels(encoded);
  });

  it("with slice threads too", async () => {
    const encoded = await encodePattern(configurationOf(), 10, {}, { threads: 2 });
    expect(nalTypes(encoded.recorder.packets[1]?.data ?? new Uint8Array())).toEqual([NAL.slice, NAL.slice]);
    expectPixels(encoded);
  });

  it("repeats the last column and row of an odd size", async () => {
    const encoded = await encodePattern(configurationOf({ width: 33, height: 31, bitrateKbps: 8000 }), 1);
    const [first] = decodedOf(encoded);
    const luma = (x: number, y: number): number => first?.data[(y * 34 + x) * 3 + 1] ?? -1;
    expect([first?.width, first?.height]).toEqual([34, 32]);
    for (let y = 8; y < 24; y++) expect(Math.abs(luma(33, y) - luma(32, y))).toBeLessThan(16);
    for (let x = 0; x < 32; x++) expect(Math.abs(luma(x, 31) - luma(x, 30))).toBeLessThan(16);
  });

  it("and the measure detects a wrong matrix, range or channel order", async () => {
    const encoded = await encodePattern(configurationOf(), 5);
    expectPixels(encoded);
    for (const wrong of ["matrix_coefficients=1", "video_full_range_flag=1"]) {
      const rewritten = rewriteVui(encoded.recorder.stream, wrong);
      expect(worst(encoded, decode(rewritten, 320, 240)), wrong).toBeLessThan(WRONG_PSNR);
    }
    for (const format of ["XB24", "XR24"] satisfies FormatName[]) {
      // Drawn as one format, mapped as the other.
      const drawn = await encodePattern(configurationOf(), 1, { format });
      const swapped = drawn.images.map(({ data, ...size }) => ({ ...size, data: swapRedAndBlue(data) }));
      expect(worst({ ...drawn, images: swapped }, decodedOf(drawn))).toBeLessThan(WRONG_PSNR);
    }
  });
});

function swapRedAndBlue(data: Uint8Array): Uint8Array {
  return data.map((_, i) => data[i % 3 === 0 ? i + 2 : i % 3 === 2 ? i - 2 : i] ?? 0);
}

describe("libx265 preserves the pixels", () => {
  it.each([
    [320, 240, {}],
    [161, 121, { format: "RX24", stride: 700, offset: 3 }],
    [16, 16, {}],
    [17, 33, { format: "BA24" }],
  ] as const)("%ix%i", async (width, height, place) => {
    const encoded = await encodePattern({ ...H265, width, height }, 20, place, LIBX265);
    expect(encoded.recorder.errors).toEqual([]);
    expectPixels(encoded, "h265");
  });

  it("with threads and full range too", async () => {
    const encoded = await encodePattern(H265, 10, {}, { ...LIBX265, threads: 2, fullRange: true });
    expect(traceHeaders(encoded.recorder.stream, "hevc").get("video_full_range_flag")).toEqual([1]);
    expectPixels(encoded, "h265");
  });
});

describe("the bitstream of libx264", () => {
  it("has parameter sets before every IDR, key frames by interval and by force, and nothing else as a key", async () => {
    const configuration = configurationOf({ keyframeInterval: 12 });
    const { recorder } = await encodePattern(configuration, 50, {}, { force: [5, 20] });
    // The interval counts from the last key frame, forced or not.
    expect(recorder.keys).toEqual([0, 5, 17, 20, 32, 44]);
    for (const { key, data, frame } of recorder.packets) {
      const types = nalTypes(data).filter((type) => type !== NAL.sei);
      expect(types, `frame ${frame}`).toEqual(key ? [NAL.sps, NAL.pps, NAL.idr] : [NAL.slice]);
      expect([...data.subarray(0, 4)]).toEqual([0, 0, 0, 1]);
    }
  });

  it("describes unknown colours as sRGB, and crops to even sizes", async () => {
    const { recorder, description } = await encodePattern(configurationOf({ width: 333, height: 121 }), 1);
    const size = { width: 334, height: 122 };
    const colorimetry = { primaries: 1, transfer: 13, matrix: 6, fullRange: false };
    expect(spsOf(recorder.stream)).toMatchObject({ ...size, ...colorimetry });
    expect(description).toEqual({
      encoder: "libx264",
      hardware: false,
      ...size,
      colorimetry,
      bitrateKbps: 4000,
      keyframeInterval: 30,
    });
  });

  it("forbids reordering also when every frame is a key frame", async () => {
    const { recorder } = await encodePattern(configurationOf({ keyframeInterval: 1 }), 3);
    expect(recorder.keys).toEqual([0, 1, 2]);
    expect(spsOf(recorder.stream).maxReorderFrames).toBe(0);
  });

  it("has the same key frames and pixels when the frame rate varies", async () => {
    const framerate = { numerator: 0, denominator: 1 };
    const encoded = await encodePattern(configurationOf({ framerate, keyframeInterval: 3 }), 5);
    const { recorder } = encoded;
    expect(recorder.keys).toEqual([0, 3]);
    for (const { data } of recorder.packets.filter(({ key }) => key)) {
      expect(nalTypes(data).filter((type) => type !== NAL.sei)).toEqual([NAL.sps, NAL.pps, NAL.idr]);
    }
    expectPixels(encoded);
  });

  it("changes the key-frame interval live", async () => {
    const configuration = configurationOf({ keyframeInterval: 100 });
    const options = reconfiguring(configuration, { 12: { keyframeInterval: 5 } });
    const { recorder } = await encodePattern(configuration, 30, {}, options);
    expect(recorder.keys).toEqual([0, 12, 17, 22, 27]);
  });
});

describe("the bitstream of libx265", () => {
  it("has VPS, SPS and PPS before every IDR, key frames by interval and by force, Annex B", async () => {
    const { vps, sps, pps, sei, trail, idr, idrWithLeading } = HEVC_NAL;
    const options = { ...LIBX265, force: [5] };
    const { recorder, description } = await encodePattern({ ...H265, keyframeInterval: 12 }, 30, {}, options);
    expect(description).toMatchObject({ encoder: "libx265", hardware: false });
    expect(recorder.keys).toEqual([0, 5, 17, 29]);
    for (const { key, data, frame } of recorder.packets) {
      expect([...data.subarray(0, 4)]).toEqual([0, 0, 0, 1]);
      const types = hevcNalTypes(data).filter((type) => type !== sei);
      expect(types.slice(0, -1), `frame ${frame}`).toEqual(key ? [vps, sps, pps] : []);
      // 0 and 1 are trailing pictures, which refer to earlier ones alone.
      expect(key ? [idr, idrWithLeading] : [0, trail]).toContain(types.at(-1));
    }
  });

  it("describes colour and rate, and forbids reordering", async () => {
    const configuration = {
      ...H265,
      colorimetry: { primaries: 9, transfer: 16, matrix: 0, fullRange: true },
      pixelAspectRatio: { numerator: 140, denominator: 33 },
    };
    const { recorder } = await encodePattern(configuration, 1, {}, LIBX265);
    const headers = traceHeaders(recorder.stream, "hevc");
    for (const [name, value] of Object.entries({
      sps_max_num_reorder_pics: 0,
      vps_max_num_reorder_pics: 0,
      colour_primaries: 9,
      transfer_characteristics: 16,
      matrix_coefficients: 6,
      video_full_range_flag: 0,
      chroma_sample_loc_type_top_field: 1,
      vui_time_scale: 30,
      vui_num_units_in_tick: 1,
      sar_width: 140,
      sar_height: 33,
    })) {
      expect(headers.get(name), name).toEqual([value]);
    }
  });

  it("changes its bit rate in mid-stream, with a key frame", async () => {
    const configuration = { ...H265, width: 640, height: 480, bitrateKbps: 100, keyframeInterval: 1000 };
    const changes = { 30: { keyframeInterval: 999 }, 75: { bitrateKbps: 400 } };
    const options = { ...LIBX265, ...reconfiguring(configuration, changes) };
    const encoded = await encodePattern(configuration, 150, {}, options);
    expect(encoded.recorder.keys).toEqual([0, 75]);
    const [before, after] = [kbpsOf(encoded.recorder, 1, 75), kbpsOf(encoded.recorder, 76, 150)];
    expect(before).toBeLessThan(100 * 1.3);
    expect(after).toBeGreaterThan(before * 2);
    expect(after).toBeLessThan(400 * 1.3);
    expect(worst(encoded, decodedOf(encoded, "h265"))).toBeGreaterThan(20);
  });

  // That the encoder is re-opened once is tested in native/media-stress.cc.
  it("takes the last of many changes of its bit rate between two frames, with one key frame", async () => {
    const rates = Array.from({ length: 8000 }, (_, index) => 501 + index);
    const configuration = { ...H265, width: 1280, height: 720, bitrateKbps: 500 };
    const options: Parameters<typeof encodePattern>[3] = {
      ...LIBX265,
      before(frame, session) {
        if (frame !== 2) return;
        for (const bitrateKbps of rates) session.reconfigure({ ...configuration, bitrateKbps });
      },
    };
    const { recorder, description } = await encodePattern(configuration, 3, {}, options);
    expect(recorder.keys).toEqual([0, 2]);
    expect(description?.bitrateKbps).toBe(8500);
  });
});
