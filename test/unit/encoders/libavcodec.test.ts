import { describe, expect, it } from "vitest";
import { NAL, nalTypes } from "./support/annexb.ts";
import { decode, rewriteVui, spsOf } from "./support/decode.ts";
import { configurationOf, type Encoded, encodePattern, kbpsOf, reconfiguring } from "./support/encode.ts";
import { type FormatName, type Placement, psnr, type RgbImage } from "./support/pattern.ts";

const FRAMES = 60;
/** dB against the RGB source: what every picture reaches, and what no picture with wrong colours does. */
const LEAST_PSNR = 42;
const WRONG_PSNR = 32;

function decodedOf({ recorder, description }: Encoded): RgbImage[] {
  return decode(recorder.stream, description?.width ?? 0, description?.height ?? 0);
}

function worst({ images }: Encoded, decoded: readonly RgbImage[]): number {
  return Math.min(...images.map((image, index) => psnr(image, decoded[index] as RgbImage)));
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
    expect(encoded.recorder.broken).toEqual([]);
    expect(encoded.recorder.packets.map(({ frame }) => frame)).toEqual(encoded.images.map((_, i) => i));
    const decoded = decodedOf(encoded);
    expect(decoded).toHaveLength(frames);
    expect(worst(encoded, decoded)).toBeGreaterThan(LEAST_PSNR);
  });

  it("full range, when asked", async () => {
    const encoded = await encodePattern(configurationOf(), 10, {}, { fullRange: true });
    expect(spsOf(encoded.recorder.stream).fullRange).toBe(true);
    expect(worst(encoded, decodedOf(encoded))).toBeGreaterThan(LEAST_PSNR);
    const other = await encodePattern(configurationOf(), 10, { format: "AB24" }, { fullRange: true });
    expect(worst(other, decodedOf(other))).toBeGreaterThan(LEAST_PSNR);
  });

  it("with slice threads too", async () => {
    const encoded = await encodePattern(configurationOf(), 10, {}, { threads: 2 });
    expect(nalTypes(encoded.recorder.packets[1]?.data ?? new Uint8Array())).toEqual([NAL.slice, NAL.slice]);
    expect(worst(encoded, decodedOf(encoded))).toBeGreaterThan(LEAST_PSNR);
  });

  it("repeats the last column and row of an odd size", async () => {
    const encoded = await encodePattern(configurationOf({ width: 33, height: 31, bitrateKbps: 8000 }), 1);
    const [first] = decodedOf(encoded);
    const luma = (x: number, y: number): number => first?.data[(y * 34 + x) * 3 + 1] ?? -1;
    expect([first?.width, first?.height]).toEqual([34, 32]);
    for (let y = 8; y < 24; y++) expect(Math.abs(luma(33, y) - luma(32, y))).toBeLessThan(16);
    for (let x = 0; x < 32; x++) expect(Math.abs(luma(x, 31) - luma(x, 30))).toBeLessThan(16);
  });

  it("and the measure would see a wrong matrix, range or channel order", async () => {
    const encoded = await encodePattern(configurationOf(), 5);
    const { stream } = encoded.recorder;
    expect(worst(encoded, decode(stream, 320, 240))).toBeGreaterThan(LEAST_PSNR);
    for (const wrong of ["matrix_coefficients=1", "video_full_range_flag=1"]) {
      expect(worst(encoded, decode(rewriteVui(stream, wrong), 320, 240)), wrong).toBeLessThan(WRONG_PSNR);
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

  it("describes the colour, and forbids reordering", async () => {
    const { recorder, description } = await encodePattern(configurationOf(), 1);
    expect(spsOf(recorder.stream)).toMatchObject({
      width: 320,
      height: 240,
      aspect: [1, 1],
      primaries: 1,
      transfer: 13,
      matrix: 6,
      fullRange: false,
      chromaLocation: 1,
      rate: 30,
      maxReorderFrames: 0,
    });
    expect(description).toEqual({
      encoder: "libx264",
      hardware: false,
      width: 320,
      height: 240,
      colorimetry: { primaries: 1, transfer: 13, matrix: 6, fullRange: false },
      bitrateKbps: 4000,
      keyframeInterval: 30,
    });
  });

  it("passes on primaries, transfer and the pixel aspect ratio", async () => {
    const configuration = configurationOf({
      colorimetry: { primaries: 9, transfer: 16, matrix: 0, fullRange: true },
      pixelAspectRatio: { numerator: 140, denominator: 33 },
      framerate: { numerator: 30000, denominator: 1001 },
    });
    const sps = spsOf((await encodePattern(configuration, 1)).recorder.stream);
    expect(sps).toMatchObject({ primaries: 9, transfer: 16, matrix: 6, aspect: [140, 33] });
    expect(sps.rate).toBeCloseTo(29.97, 3);
  });

  it("crops to even sizes", async () => {
    const { recorder, description } = await encodePattern(configurationOf({ width: 333, height: 121 }), 1);
    expect(spsOf(recorder.stream)).toMatchObject({ width: 334, height: 122 });
    expect(description).toMatchObject({ width: 334, height: 122 });
  });

  it("forbids reordering also when every frame is a key frame", async () => {
    const { recorder } = await encodePattern(configurationOf({ keyframeInterval: 1 }), 3);
    expect(recorder.keys).toEqual([0, 1, 2]);
    expect(spsOf(recorder.stream).maxReorderFrames).toBe(0);
  });

  it("states no frame rate when it varies", async () => {
    const framerate = { numerator: 0, denominator: 1 };
    const encoded = await encodePattern(configurationOf({ framerate, keyframeInterval: 3 }), 5);
    const { recorder } = encoded;
    expect(recorder.keys).toEqual([0, 3]);
    for (const { data } of recorder.packets.filter(({ key }) => key)) {
      expect(spsOf(data)).toMatchObject({ rate: undefined, maxReorderFrames: 0, matrix: 6 });
      expect(nalTypes(data).filter((type) => type !== NAL.sei)).toEqual([NAL.sps, NAL.pps, NAL.idr]);
    }
    expect(worst(encoded, decodedOf(encoded))).toBeGreaterThan(LEAST_PSNR);
  });
});

describe("rate control of libx264", () => {
  it("keeps the bit rate, and a new one from the frame after the change", async () => {
    const size = { width: 640, height: 480 };
    const configuration = configurationOf({ ...size, bitrateKbps: 600, keyframeInterval: 1000 });
    const options = reconfiguring(configuration, { 90: { bitrateKbps: 2400 } });
    const { recorder } = await encodePattern(configuration, 180, {}, options);
    const [before, after] = [kbpsOf(recorder, 45, 90), kbpsOf(recorder, 120, 180)];
    expect(before).toBeLessThan(600 * 1.3);
    expect(after).toBeGreaterThan(before * 2);
    expect(after).toBeLessThan(2400 * 1.3);
  });

  it("changes the key-frame interval live", async () => {
    const configuration = configurationOf({ keyframeInterval: 100 });
    const options = reconfiguring(configuration, { 12: { keyframeInterval: 5 } });
    const { recorder } = await encodePattern(configuration, 30, {}, options);
    expect(recorder.keys).toEqual([0, 12, 17, 22, 27]);
  });
});
