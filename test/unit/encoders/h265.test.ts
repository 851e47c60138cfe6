import { describe, expect, it } from "vitest";
import { HEVC_NAL, hevcNalTypes } from "./support/annexb.ts";
import { decode, traceHeaders } from "./support/decode.ts";
import { configurationOf, type Encoded, encodePattern, kbpsOf, reconfiguring } from "./support/encode.ts";
import { psnr, type RgbImage } from "./support/pattern.ts";

const LEAST_PSNR = 40;
const { vps, sps, pps, sei, trail, idr, idrWithLeading } = HEVC_NAL;
const H265 = configurationOf({ codec: "h265" });
const ENCODER = { encoder: "libx265" } as const;

function worst({ recorder, description, images }: Encoded): number {
  const decoded = decode(recorder.stream, description?.width ?? 0, description?.height ?? 0, "hevc");
  expect(decoded).toHaveLength(images.length);
  return Math.min(...images.map((image, index) => psnr(image, decoded[index] as RgbImage)));
}

describe("libx265", () => {
  it.each([
    [320, 240, {}],
    [161, 121, { format: "RX24", stride: 700, offset: 3 }],
    [16, 16, {}],
    [17, 33, { format: "BA24" }],
  ] as const)("preserves the pixels, %ix%i", async (width, height, place) => {
    const encoded = await encodePattern({ ...H265, width, height }, 20, place, ENCODER);
    expect([encoded.recorder.errors, encoded.recorder.broken]).toEqual([[], []]);
    expect(worst(encoded)).toBeGreaterThan(LEAST_PSNR);
  });

  it("with threads and full range too", async () => {
    const encoded = await encodePattern(H265, 10, {}, { ...ENCODER, threads: 2, fullRange: true });
    expect(traceHeaders(encoded.recorder.stream, "hevc").get("video_full_range_flag")).toEqual([1]);
    expect(worst(encoded)).toBeGreaterThan(LEAST_PSNR);
  });

  it("has VPS, SPS and PPS before every IDR, key frames by interval and by force, Annex B", async () => {
    const options = { ...ENCODER, force: [5] };
    const { recorder, description } = await encodePattern({ ...H265, keyframeInterval: 12 }, 30, {}, options);
    expect(description).toMatchObject({ encoder: "libx265", hardware: false });
    expect(recorder.keys).toEqual([0, 5, 17, 29]);
    for (const { key, data, frame } of recorder.packets) {
      expect([...data.subarray(0, 4)]).toEqual([0, 0, 0, 1]);
      const types = hevcNalTypes(data).filter((type) => type !== sei);
      if (key) {
        expect(types.slice(0, 3), `frame ${frame}`).toEqual([vps, sps, pps]);
        expect([idr, idrWithLeading]).toContain(types[3]);
        expect(types).toHaveLength(4);
      } else {
        // 0 and 1 are trailing pictures, which refer to earlier ones alone.
        expect(types, `frame ${frame}`).toHaveLength(1);
        expect(types[0]).toBeLessThanOrEqual(trail);
      }
    }
  });

  it("describes colour and rate, and forbids reordering", async () => {
    const configuration = {
      ...H265,
      colorimetry: { primaries: 9, transfer: 16, matrix: 0, fullRange: true },
      pixelAspectRatio: { numerator: 140, denominator: 33 },
    };
    const { recorder } = await encodePattern(configuration, 1, {}, ENCODER);
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
    const options = { ...ENCODER, ...reconfiguring(configuration, changes) };
    const encoded = await encodePattern(configuration, 150, {}, options);
    expect(encoded.recorder.keys).toEqual([0, 75]);
    const [before, after] = [kbpsOf(encoded.recorder, 1, 75), kbpsOf(encoded.recorder, 76, 150)];
    expect(before).toBeLessThan(100 * 1.3);
    expect(after).toBeGreaterThan(before * 2);
    expect(after).toBeLessThan(400 * 1.3);
    expect(worst(encoded)).toBeGreaterThan(20);
  });

  it("takes the last of many changes of its bit rate between two frames, with one key frame", async () => {
    const configuration = { ...H265, width: 1280, height: 720, bitrateKbps: 500 };
    const { recorder, description } = await encodePattern(
      configuration,
      3,
      {},
      {
        ...ENCODER,
        before(frame, session) {
          if (frame !== 2) return;
          for (let bitrateKbps = 501; bitrateKbps <= 8500; bitrateKbps++)
            session.reconfigure({ ...configuration, bitrateKbps });
        },
      },
    );
    expect(recorder.keys).toEqual([0, 2]);
    expect(description?.bitrateKbps).toBe(8500);
  });
});
