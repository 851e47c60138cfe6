import { describe, expect, it } from "vitest";
import type { EncoderConfiguration } from "../../../host/encoders/encoder.ts";
import { LibavcodecBackend } from "../../../host/encoders/libavcodec.ts";
import { Picture } from "../../../host/native/picture.ts";
import { nalUnits, parseSps } from "./support/annexb.ts";
import { decode } from "./support/decode.ts";
import { Canvas, configurationOf, encodePattern, encodeSources, placement } from "./support/encode.ts";
import { linearMemory, PAGE, ScatteredMemory, type TestMemory } from "./support/memory.ts";
import { drawPattern, FORMATS, type FormatName, psnr, type RgbImage } from "./support/pattern.ts";
import { Recorder } from "./support/recorder.ts";
import { packYuv, type YuvName, yuvFourcc } from "./support/yuv.ts";

/** dB against the RGB source. */
const LEAST_PSNR = 42;

describe("each RGB order", () => {
  const cases = (Object.keys(FORMATS) as FormatName[]).flatMap((format) =>
    [false, true].map((fullRange) => ({ format, fullRange })),
  );
  it.each(cases)("$format, full range $fullRange, of odd size and stride", async ({ format, fullRange }) => {
    const configuration = configurationOf({ width: 161, height: 121, bitrateKbps: 4000 });
    const { recorder, images } = await encodePattern(
      configuration,
      8,
      { format, stride: 701, offset: 13 },
      { fullRange },
    );
    const decoded = decode(recorder.stream, 162, 122);
    for (const [index, image] of images.entries()) {
      expect(psnr(image, decoded[index] as RgbImage)).toBeGreaterThan(LEAST_PSNR);
    }
    expect(spsOf(recorder).fullRange).toBe(fullRange);
  });
});

/** A picture whose planes lie in one memory, or each in one of its own. */
async function mapYuv(
  image: RgbImage,
  name: YuvName,
  matrix: number,
  fullRange: boolean,
  { padding = 0, separate = false } = {},
): Promise<{ picture: Picture; remove: () => Promise<void> }> {
  const packed = packYuv(image, name, matrix, fullRange, padding);
  const memories: TestMemory[] = [];
  const planes = [];
  if (separate) {
    for (const [index, { bytes, stride }] of packed.entries()) {
      const scattered = new ScatteredMemory(bytes.length, index + 1);
      scattered.write(bytes);
      memories.push(scattered.memory);
      planes.push({ memory: scattered.resource, offset: 0, stride });
    }
  } else {
    const offsets: number[] = [];
    let end = 7;
    for (const { bytes } of packed) {
      offsets.push(end);
      end += bytes.length + 5;
    }
    const all = Buffer.alloc(end, 0xa5);
    for (const [index, { bytes }] of packed.entries()) bytes.copy(all, offsets[index]);
    const { memory, resource } = linearMemory(all);
    memories.push(memory);
    for (const [index, { stride }] of packed.entries()) {
      planes.push({ memory: resource, offset: offsets[index] ?? 0, stride });
    }
  }
  const { width, height } = image;
  const picture = await Picture.map({
    width,
    height,
    fourcc: yuvFourcc(name),
    planes,
    visible: { x: 0, y: 0, width, height },
  });
  return {
    picture,
    remove: async () => {
      await picture.close();
      for (const memory of memories) memory.remove();
    },
  };
}

function spsOf({ stream }: Recorder) {
  return parseSps(nalUnits(stream).find((unit) => ((unit[0] ?? 0) & 0x1f) === 7) ?? new Uint8Array());
}

const yuvConfiguration = (
  width: number,
  height: number,
  matrix: number,
  fullRange: boolean,
): EncoderConfiguration =>
  configurationOf({
    width,
    height,
    bitrateKbps: Math.max(4000, Math.round((width * height) / 20)),
    colorimetry: { primaries: 0, transfer: 0, matrix, fullRange },
  });

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
    const { picture, remove } = await mapYuv(image, name, matrix, fullRange, options);
    const configuration = yuvConfiguration(width, height, matrix, fullRange);
    const recorder = await encodeSources(configuration, [picture, picture]);
    expect(recorder.errors).toEqual([]);
    expect(spsOf(recorder)).toMatchObject({ matrix, fullRange, primaries: 1, transfer: 1 });
    const even = (size: number): number => size + (size % 2);
    const decoded = decode(recorder.stream, even(width), even(height));
    expect(psnr(image, decoded[1] as RgbImage)).toBeGreaterThan(LEAST_PSNR);
    await remove();
  });

  it("counts an unknown matrix as BT.601, from 720 lines on as BT.709", async () => {
    for (const [height, matrix] of [
      [719, 6],
      [720, 1],
    ] as const) {
      const session = await new LibavcodecBackend("libx264").open(
        yuvConfiguration(64, height, 2, false),
        new Recorder().listener,
      );
      expect(session.description.colorimetry).toEqual({
        primaries: 1,
        transfer: 1,
        matrix,
        fullRange: false,
      });
      await session.close();
    }
  });

  it("shows an even part of a larger picture", async () => {
    const whole = drawPattern(128, 96, 1);
    const { picture, remove } = await mapYuv(whole, name, 6, false, { padding: 9 });
    const part = await cropOf(name, whole);
    const crcs = await Promise.all([picture.checksum(), part.picture.checksum()]);
    expect(crcs[1]?.bytes).toBeLessThan(crcs[0]?.bytes ?? 0);
    const recorder = await encodeSources(yuvConfiguration(51, 33, 6, false), [part.picture]);
    const [decoded] = decode(recorder.stream, 52, 34);
    expect(psnr(crop(whole, 10, 20, 51, 33), decoded as RgbImage)).toBeGreaterThan(LEAST_PSNR);
    await Promise.all([remove(), part.remove()]);
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

/** 51x33 at 10,20 of the image. */
async function cropOf(name: YuvName, image: RgbImage) {
  const packed = packYuv(image, name, 6, false, 9);
  const memories = packed.map(({ bytes }) => linearMemory(bytes));
  const picture = await Picture.map({
    width: image.width,
    height: image.height,
    fourcc: yuvFourcc(name),
    planes: packed.map(({ stride }, index) => ({
      memory: memories[index]?.resource ?? { extents: [] },
      offset: 0,
      stride,
    })),
    visible: { x: 10, y: 20, width: 51, height: 33 },
  });
  return {
    picture,
    remove: async () => {
      await picture.close();
      for (const { memory } of memories) memory.remove();
    },
  };
}

describe("a session", () => {
  it("rejects frames of the other kind, and continues", async () => {
    const image = drawPattern(64, 64, 0);
    const { picture, remove } = await mapYuv(image, "NV12", 6, false);
    const canvas = await Canvas.create(64, 64, placement({ width: 64, height: 64 }));
    const rgb = await encodeSources(configurationOf({ width: 64, height: 64 }), [
      canvas.picture,
      picture,
      canvas.picture,
    ]);
    expect(rgb.packets.map(({ frame }) => frame)).toEqual([0, 2]);
    expect(rgb.errors[0]?.message).toMatch(/frame 1 is YUV, the session is configured for RGB/);
    const yuv = await encodeSources(yuvConfiguration(64, 64, 6, false), [picture, canvas.picture]);
    expect(yuv.packets.map(({ frame }) => frame)).toEqual([0]);
    expect(yuv.errors[0]?.message).toMatch(/frame 1 is RGB, the session is configured for YUV/);
    await Promise.all([remove(), canvas.remove()]);
  });
});

describe("a hostile plane of chroma", () => {
  // 64x63 in I420: 63 rows of 64 bytes, twice 32 rows of 32.
  const SIZE = 2 * PAGE;
  const [luma, u, v] = [0, 63 * 64, 63 * 64 + 32 * 32];
  const cases: [string, [number, number, number], [number, number, number], object, RegExp | undefined][] = [
    ["that is legal is mapped", [luma, u, v], [64, 32, 32], {}, undefined],
    ["that fills the resource is mapped", [luma, u, SIZE - 1024], [64, 32, 32], {}, undefined],
    [
      "a byte beyond the end",
      [luma, u, SIZE - 1023],
      [64, 32, 32],
      {},
      /plane 2 has 1024 bytes from byte 7169/,
    ],
    ["whose offset is 2^53-1", [luma, 2 ** 53 - 1, v], [64, 32, 32], {}, /plane 1 has .* 9007199254740991/],
    [
      "whose stride is below a row",
      [luma, u, v],
      [64, 31, 32],
      {},
      /stride of plane 1 is 31, not between the 32/,
    ],
    ["whose stride is 2^52", [luma, u, v], [64, 32, 2 ** 52], {}, /stride of plane 2 is 4503599627370496/],
    ["whose stride leads outside", [luma, u, v], [64, 32, 200], {}, /plane 2 has 6232 bytes/],
    [
      "cut between two samples",
      [luma, u, v],
      [64, 32, 32],
      { visible: { x: 1, y: 0, width: 32, height: 32 } },
      /begins at 1,0; in I420 it has to begin at even pixels/,
    ],
    [
      "cut between two rows of samples",
      [luma, u, v],
      [64, 32, 32],
      { visible: { x: 0, y: 3, width: 32, height: 32 } },
      /begins at 0,3/,
    ],
  ];
  it.each(cases)("%s", async (_title, offsets, strides, changes, message) => {
    const { memory, resource } = linearMemory(Buffer.alloc(SIZE));
    const mapped = Picture.map({
      width: 64,
      height: 63,
      fourcc: yuvFourcc("I420"),
      planes: offsets.map((offset, index) => ({ memory: resource, offset, stride: strides[index] ?? 0 })),
      visible: { x: 0, y: 0, width: 64, height: 63 },
      ...changes,
    });
    if (message === undefined) await (await mapped).close();
    else await expect(mapped).rejects.toThrow(message);
    memory.remove();
  });
});
