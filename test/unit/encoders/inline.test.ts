import { crc32 } from "node:zlib";
import { afterEach, describe, expect, it } from "vitest";
import { InlinePicture, InlineWriteError, PictureBusyError } from "../../../host/native/inline-picture.ts";
import {
  InvalidLayoutError,
  LayoutOutsideResourceError,
  type PictureGeometry,
  PictureStagingError,
  stagingBytes,
  UnsupportedFormatError,
} from "../../../host/native/picture.ts";
import { fourcc } from "../../../proto/formats.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { configurationOf, encodeSources, openSession, placement, requestOf } from "./support/encode.ts";
import { atEnd, budget, geometryOf, linearPicture, releaseAll } from "./support/memory.ts";
import { drawPattern, pack } from "./support/pattern.ts";
import { packYuv, yuvFourcc } from "./support/yuv.ts";

const [WIDTH, HEIGHT, STRIDE] = [162, 91, 655];
const GEOMETRY = geometryOf(fourcc("BX24"), WIDTH, HEIGHT, [{ offset: 3, stride: STRIDE }]);
const CONFIGURATION = configurationOf({ width: WIDTH, height: HEIGHT });
/** As Data chunks bring them. */
const CHUNK = 32_000;
const PLACE = placement(CONFIGURATION, { format: "BX24", offset: 3, stride: STRIDE });

const draw = (frame: number): Buffer => pack(drawPattern(WIDTH, HEIGHT, frame), PLACE);

function create(changes: Partial<PictureGeometry> = {}): InlinePicture {
  const picture = new InlinePicture({ ...GEOMETRY, ...changes }, budget);
  atEnd(() => picture.close());
  return picture;
}

function receive(picture: InlinePicture, bytes: Uint8Array) {
  const frame = picture.beginFrame();
  for (let at = 0; at < bytes.length; at += CHUNK) frame.write(at, bytes.subarray(at, at + CHUNK));
  return frame;
}

afterEach(releaseAll);

describe("an inline picture", () => {
  it("becomes the same stream as one in a resource", async () => {
    const picture = create();
    expect(picture).toMatchObject({ tier: "inline", runs: 0, bytes: draw(0).length });
    const { session, recorder } = await openSession(CONFIGURATION);
    for (let frame = 0; frame < 20; frame++) {
      const received = receive(picture, draw(frame));
      session.encode(received, requestOf(frame));
      received.close();
      // Two frames in flight, as the element has them.
      if (frame % 2 === 1) await session.drain();
    }
    await session.close();
    expect(recorder.errors).toEqual([]);

    const mapped = await linearPicture(draw(0), GEOMETRY);
    function* redrawn() {
      for (let frame = 0; frame < 20; frame++) {
        mapped.memory.write(0, draw(frame));
        yield mapped.picture;
      }
    }
    const reference = await encodeSources(CONFIGURATION, redrawn());
    expect(recorder.stream.equals(reference.stream)).toBe(true);
  });

  it("never overwrites a frame that has not been read", async () => {
    const picture = create();
    const { session } = await openSession(CONFIGURATION);
    const frames = Array.from({ length: LIMITS.MAX_IN_FLIGHT_FRAMES }, (_, index) => {
      const frame = receive(picture, draw(index));
      session.encode(frame, requestOf(index));
      return frame;
    });
    // All are open: whether they have been read does not matter.
    expect(() => picture.beginFrame()).toThrow(PictureBusyError);
    await session.drain();
    expect(() => picture.beginFrame()).toThrow(/8 frames of the picture have not been read yet/);
    const held = stagingBytes();
    for (const frame of frames) frame.close();
    const again = picture.beginFrame();
    expect(stagingBytes()).toBe(held);
    again.close();
  });

  it("neither reuses nor writes a slot that is closed but not read", async () => {
    const [busy, picture] = [create(), create()];
    const [first, second] = [draw(0), draw(1)];
    // Slow enough that the last of eight frames has not been read when the next line runs.
    const { session } = await openSession(CONFIGURATION, { options: { preset: "placebo" } });
    const [ahead, last] = [receive(busy, first), receive(picture, first)];
    for (let frame = 0; frame < LIMITS.MAX_IN_FLIGHT_FRAMES - 1; frame++) {
      session.encode(ahead, requestOf(frame, true));
    }
    session.encode(last, requestOf(7, true));
    const held = stagingBytes();
    expect(() => last.write(0, Buffer.alloc(1))).toThrow(/the frame is being read/);
    last.close();
    receive(picture, second).close();
    expect(stagingBytes()).toBe(held + picture.bytes);
  });

  it("rejects bytes outside the frame, and any after it is closed", () => {
    const picture = create();
    const frame = picture.beginFrame();
    frame.write(frame.bytes, Buffer.alloc(0));
    frame.write(frame.bytes - 1, Buffer.alloc(1));
    for (const [offset, length] of [
      [frame.bytes, 1],
      [frame.bytes - 1, 2],
      [0, frame.bytes + 1],
      [2 ** 53 - 1, 1],
      [2 ** 60, 1],
      [-1, 1],
      [0.5, 1],
      [Number.NaN, 1],
    ] as const) {
      expect(() => frame.write(offset, Buffer.alloc(length)), String(offset)).toThrow(InlineWriteError);
    }
    expect(() => frame.write(-1, Buffer.alloc(1))).toThrow(
      /1 bytes at -1 are not inside the frame's \d+ bytes/,
    );
    frame.close();
    frame.close();
    expect(() => frame.write(0, Buffer.alloc(1))).toThrow(/the frame is closed/);
  });

  it("is rejected by the session when it is closed, and begins no frame", async () => {
    const picture = create();
    const frame = picture.beginFrame();
    await picture.close();
    expect(frame.closed).toBe(true);
    expect(() => frame.write(0, Buffer.alloc(1))).toThrow(/closed/);
    expect(() => picture.beginFrame()).toThrow(/closed/);
    await expect(picture.checksum()).rejects.toThrow(/closed/);
    const recorder = await encodeSources(CONFIGURATION, [frame]);
    expect(recorder.errors[0]?.message).toMatch(/its picture is closed/);
  });

  it("rejects hostile layouts before it allocates anything", () => {
    const cases: [Partial<PictureGeometry>, new (message: string) => Error, RegExp][] = [
      [{ planes: [{ offset: 0, stride: 10 }] }, InvalidLayoutError, /stride is 10/],
      [{ planes: [{ offset: -1, stride: STRIDE }] }, InvalidLayoutError, /planes\[0\]\.offset is -1/],
      [{ planes: [{ offset: 2 ** 53 - 1, stride: STRIDE }] }, LayoutOutsideResourceError, /only 268435456/],
      [{ planes: [{ offset: 2 ** 28 - 10, stride: STRIDE }] }, LayoutOutsideResourceError, /only 268435456/],
      [{ planes: [] }, UnsupportedFormatError, /the layout has 0/],
      [{ fourcc: yuvFourcc("I420") }, UnsupportedFormatError, /I420 has 3 plane\(s\), the layout has 1/],
      [{ width: 0 }, InvalidLayoutError, /width is 0/],
    ];
    for (const [changes, Fault, message] of cases) {
      expect(() => create(changes)).toThrow(Fault);
      expect(() => create(changes)).toThrow(message);
    }
    expect(stagingBytes()).toBe(0);
  });

  it("shares a budget of 1 GiB, and returns its part", async () => {
    const large = { planes: [{ offset: 2 ** 28 - 90 * STRIDE - WIDTH * 4, stride: STRIDE }] };
    const four = Array.from({ length: 4 }, () => create(large));
    expect(stagingBytes()).toBe(2 ** 30);
    expect(() => create(large)).toThrow(PictureStagingError);
    expect(() => create(large)).toThrow(/this VM uses 1073741824 of at most 1073741824 already/);
    await four[0]?.close();
    create(large);
  });
});

describe("checksum", () => {
  it("is CRC-32 of the visible pixels of an inline picture's last frame", async () => {
    const picture = create();
    const zeros = { crc: crc32(Buffer.alloc(WIDTH * 4 * HEIGHT)), bytes: WIDTH * 4 * HEIGHT };
    expect(await picture.checksum()).toEqual(zeros);
    const bytes = draw(4);
    const frame = receive(picture, bytes);
    const expected = rowsOf(bytes, 3, STRIDE, WIDTH * 4, HEIGHT);
    const running = picture.checksum();
    frame.close();
    // A frame that begins meanwhile takes another slot.
    const other = picture.beginFrame();
    other.write(0, Buffer.alloc(other.bytes, 0xff));
    other.close();
    expect(await running).toEqual({ crc: crc32(expected), bytes: expected.length });
  });

  it.each([
    "NV12",
    "I420",
  ] as const)("goes plane after plane in %s, for odd sizes and parts too", async (name) => {
    const packed = packYuv(drawPattern(77, 55, 1), name, 6, false, 6);
    let end = 0;
    const planes = packed.map(({ bytes, stride }) => {
      const offset = end;
      end += bytes.length;
      return { offset, stride };
    });
    const all = Buffer.concat(packed.map(({ bytes }) => bytes));
    const visible = { x: 2, y: 4, width: 31, height: 21 };
    const geometry = { ...geometryOf(yuvFourcc(name), 77, 55, planes), visible };
    const mapped = await linearPicture(all, geometry);
    const received = create(geometry);
    receive(received, all).close();
    const expected = Buffer.concat(
      packed.map(({ bytes, stride }, index) => {
        const [bytesAcross, pixels] = index === 0 ? [1, 1] : [name === "NV12" ? 2 : 1, 2];
        const from = (4 / pixels) * stride + (2 / pixels) * bytesAcross;
        return rowsOf(bytes, from, stride, Math.ceil(31 / pixels) * bytesAcross, Math.ceil(21 / pixels));
      }),
    );
    const checksum = { crc: crc32(expected), bytes: expected.length };
    expect(await mapped.picture.checksum()).toEqual(checksum);
    expect(await received.checksum()).toEqual(checksum);
  });
});

/** The rows of a plane without padding. */
function rowsOf(bytes: Buffer, from: number, stride: number, length: number, rows: number): Buffer {
  return Buffer.concat(
    Array.from({ length: rows }, (_, y) => bytes.subarray(from + y * stride, from + y * stride + length)),
  );
}
