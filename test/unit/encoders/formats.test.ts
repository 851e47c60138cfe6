import { afterEach, describe, expect, it } from "vitest";
import type { Picture, PictureRectangle } from "../../../host/native/picture.ts";
import { decode, spsOf } from "./support/decode.ts";
import { Canvas, configurationOf, encodePattern, encodeSources, openSession } from "./support/encode.ts";
import {
  geometryOf,
  linearPicture,
  mapPicture,
  PAGE,
  releaseAll,
  ScatteredMemory,
} from "./support/memory.ts";
import { drawPattern, FORMATS, type FormatName, psnr, type RgbImage } from "./support/pattern.ts";
import { packYuv, type YuvName, yuvFourcc } from "./support/yuv.ts";

/** dB against the RGB source. */
const LEAST_PSNR = 42;

afterEach(releaseAll);

describe("each RGB order", () => {
  const cases = (Object.keys(FORMATS) as FormatName[]).flatMap((format) =>
    [false, true].map((fullRange) => ({ format, fullRange })),
  );
  it.each(cases)("$format, full range $fullRange, of odd size and stride", async ({ format, fullRange }) => {
    const configuration = configurationOf({ width: 161, height: 121 });
    const place = { format, stride: 701, offset: 13 };
    const { recorder, images } = await encodePattern(configuration, 8, place, { fullRange });
    const decoded = decode(recorder.stream, 162, 122);
    for (const [index, image] of images.entries()) {
      expect(psnr(image, decoded[index] as RgbImage)).toBeGreaterThan(LEAST_PSNR);
    }
    expect(spsOf(recorder.stream).fullRange).toBe(fullRange);
  });
});

/** A picture whose planes lie in one memory, or each in scattered pages of its own. */
async function mapYuv(
  image: RgbImage,
  name: YuvName,
  matrix: number,
  fullRange: boolean,
  { padding = 0, separate = false, visible = undefined as PictureRectangle | undefined } = {},
): Promise<Picture> {
  const packed = packYuv(image, name, matrix, fullRange, padding);
  let end = 7;
  const planes = packed.map(({ bytes, stride }) => {
    const offset = separate ? 0 : end;
    end += bytes.length + 5;
    return { bytes, offset, stride };
  });
  const whole = geometryOf(yuvFourcc(name), image.width, image.height, planes);
  const geometry = { ...whole, visible: visible ?? whole.visible };
  if (!separate) {
    const all = Buffer.alloc(end, 0xa5);
    for (const { bytes, offset } of planes) bytes.copy(all, offset);
    return (await linearPicture(all, geometry)).picture;
  }
  const scattered = planes.map(({ bytes, offset, stride }, index) => {
    const memory = new ScatteredMemory(bytes.length, index + 1);
    memory.write(bytes);
    return { memory: memory.resource, offset, stride };
  });
  return await mapPicture({ ...geometry, planes: scattered });
}

function yuvConfiguration(width: number, height: number, matrix: number, fullRange: boolean) {
  const bitrateKbps = Math.max(4000, Math.round((width * height) / 20));
  const colorimetry = { primaries: 0, transfer: 0, matrix, fullRange };
  return configurationOf({ width, height, bitrateKbps, colorimetry });
}

describe.each(["NV12", "I420"] as const)("%s keeps its matrix and range", (name) => {
  const cases: [string, number, number, number, boolean, { padding?: number; separate?: boolean }][] = [
    ["BT.601 limited", 320, 240, 6, false, {}],
    ["BT.709 limited, planes in separate memories", 320, 240, 1, false, { separate: true }],
    ["BT.709 full, padded rows", 320, 240, 1, true, { padding: 33 }],
    ["BT.2020, odd size", 161, 121, 9, false, { padding: 1 }],
    ["odd size in separate memories", 333, 241, 6, true, { separate: true, padding: 3 }],
    ["the smallest odd size", 17, 19, 6, false, {}],
  ];
  it.each(cases)("%s", async (_title, width, height, matrix, fullRange, options) => {
    const image = drawPattern(width, height, 3);
    const picture = await mapYuv(image, name, matrix, fullRange, options);
    const configuration = yuvConfiguration(width, height, matrix, fullRange);
    const recorder = await encodeSources(configuration, [picture, picture]);
    expect(recorder.errors).toEqual([]);
    expect(spsOf(recorder.stream)).toMatchObject({ matrix, fullRange, primaries: 1, transfer: 1 });
    const even = (size: number): number => size + (size % 2);
    const decoded = decode(recorder.stream, even(width), even(height));
    expect(psnr(image, decoded[1] as RgbImage)).toBeGreaterThan(LEAST_PSNR);
  });

  it("counts an unknown matrix as BT.601, from 720 lines on as BT.709", async () => {
    for (const [height, matrix] of [
      [719, 6],
      [720, 1],
    ] as const) {
      const { session } = await openSession(yuvConfiguration(64, height, 2, false));
      const colorimetry = { primaries: 1, transfer: 1, matrix, fullRange: false };
      expect(session.description.colorimetry).toEqual(colorimetry);
    }
  });

  it("shows an even part of a larger picture", async () => {
    const whole = drawPattern(128, 96, 1);
    const picture = await mapYuv(whole, name, 6, false, { padding: 9 });
    const visible = { x: 10, y: 20, width: 51, height: 33 };
    const part = await mapYuv(whole, name, 6, false, { padding: 9, separate: true, visible });
    const crcs = await Promise.all([picture.checksum(), part.checksum()]);
    expect(crcs[1]?.bytes).toBeLessThan(crcs[0]?.bytes ?? 0);
    const recorder = await encodeSources(yuvConfiguration(51, 33, 6, false), [part]);
    const [decoded] = decode(recorder.stream, 52, 34);
    expect(psnr(crop(whole, 10, 20, 51, 33), decoded as RgbImage)).toBeGreaterThan(LEAST_PSNR);
  });
});

function crop({ width, data }: RgbImage, x: number, y: number, columns: number, rows: number): RgbImage {
  const part = new Uint8Array(columns * rows * 3);
  for (let row = 0; row < rows; row++) {
    const from = ((y + row) * width + x) * 3;
    part.set(data.subarray(from, from + columns * 3), row * columns * 3);
  }
  return { width: columns, height: rows, data: part };
}

describe("a session", () => {
  it("rejects frames of the other kind, and continues", async () => {
    const image = drawPattern(64, 64, 0);
    const picture = await mapYuv(image, "NV12", 6, false);
    const { picture: rgbPicture } = await Canvas.create(64, 64);
    const configuration = configurationOf({ width: 64, height: 64 });
    const rgb = await encodeSources(configuration, [rgbPicture, picture, rgbPicture]);
    expect(rgb.packets.map(({ frame }) => frame)).toEqual([0, 2]);
    expect(rgb.errors[0]?.message).toMatch(/frame 1 is YUV, the session is configured for RGB/);
    const yuv = await encodeSources(yuvConfiguration(64, 64, 6, false), [picture, rgbPicture]);
    expect(yuv.packets.map(({ frame }) => frame)).toEqual([0]);
    expect(yuv.errors[0]?.message).toMatch(/frame 1 is RGB, the session is configured for YUV/);
  });
});

describe("a hostile plane of chroma", () => {
  // 64x63 in I420: 63 rows of 64 bytes, twice 32 rows of 32.
  const SIZE = 2 * PAGE;
  const [luma, u, v] = [0, 63 * 64, 63 * 64 + 32 * 32];
  const part = (x: number, y: number) => ({ visible: { x, y, width: 32, height: 32 } });
  type Three = [number, number, number];
  const at: Three = [luma, u, v];
  const strides: Three = [64, 32, 32];
  const cases: [string, Three, Three, object, RegExp | undefined][] = [
    ["that is legal is mapped", at, strides, {}, undefined],
    ["that fills the resource is mapped", [luma, u, SIZE - 1024], strides, {}, undefined],
    ["a byte beyond the end", [luma, u, SIZE - 1023], strides, {}, /plane 2 has 1024 bytes from byte 7169/],
    ["whose offset is 2^53-1", [luma, 2 ** 53 - 1, v], strides, {}, /plane 1 has .* 9007199254740991/],
    ["whose stride is below a row", at, [64, 31, 32], {}, /stride of plane 1 is 31, not between the 32/],
    ["whose stride is 2^52", at, [64, 32, 2 ** 52], {}, /stride of plane 2 is 4503599627370496/],
    ["whose stride leads outside", at, [64, 32, 200], {}, /plane 2 has 6232 bytes/],
    ["cut between two samples", at, strides, part(1, 0), /at 1,0; in I420 it has to begin at even pixels/],
    ["cut between two rows of samples", at, strides, part(0, 3), /begins at 0,3/],
  ];
  it.each(cases)("%s", async (_title, offsets, rows, changes, message) => {
    const planes = offsets.map((offset, index) => ({ offset, stride: rows[index] ?? 0 }));
    const geometry = { ...geometryOf(yuvFourcc("I420"), 64, 63, planes), ...changes };
    const mapped = linearPicture(Buffer.alloc(SIZE), geometry);
    if (message === undefined) await mapped;
    else await expect(mapped).rejects.toThrow(message);
  });
});
