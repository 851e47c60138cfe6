import { ftruncateSync, openSync } from "node:fs";
import { crc32 } from "node:zlib";
import { afterEach, describe, expect, it } from "vitest";
import {
  mappedRuns,
  Picture,
  type PictureLayout,
  PictureMapError,
  PictureStagingError,
  type ResourceBytes,
} from "../../../host/native/picture.ts";
import { fourcc } from "../../../proto/formats.ts";
import { configurationOf, encodeSources, openSession, placement, requestOf } from "./support/encode.ts";
import {
  budget,
  geometryOf,
  linearPicture,
  mapPicture,
  PAGE,
  releaseAll,
  TestMemory,
} from "./support/memory.ts";
import { drawPattern, pack } from "./support/pattern.ts";

const [WIDTH, HEIGHT, STRIDE] = [160, 90, 700];
const CONFIGURATION = configurationOf({ width: WIDTH, height: HEIGHT });
const BYTES = pack(drawPattern(WIDTH, HEIGHT, 2), placement(CONFIGURATION, { stride: STRIDE }));

afterEach(releaseAll);

const GEOMETRY = geometryOf(fourcc("XR24"), WIDTH, HEIGHT, [{ offset: 0, stride: STRIDE }]);
const layoutOf = (memory: ResourceBytes, offset = 0): PictureLayout => ({
  ...GEOMETRY,
  planes: [{ memory, offset, stride: STRIDE }],
});

/** Runs of `length` bytes, in reverse order in the memory, each `gap` bytes from the next. */
function runsOf(length = 1000, gap = 37) {
  const count = Math.ceil(BYTES.length / length);
  const memory = new TestMemory(count * (length + gap));
  const extents = Array.from({ length: count }, (_, index) => {
    const offset = (count - 1 - index) * (length + gap);
    const part = BYTES.subarray(index * length, (index + 1) * length);
    memory.write(offset, part);
    return { fd: memory.fd, offset, length: part.length };
  });
  return { memory, resource: { extents } };
}

describe("a picture that cannot be stitched", () => {
  it.each([
    ["runs that begin and end within pages", 1000, 37],
    ["runs of a byte more than a page", PAGE + 1, 0],
    ["one run at an odd offset", BYTES.length, 5],
  ])("is gathered: %s", async (_title, length, gap) => {
    const { picture: stitched } = await linearPicture(BYTES, GEOMETRY);
    const scattered = runsOf(length, gap);
    const { extents } = scattered.resource;
    // A first extent of one byte puts even a single run off the page.
    const shifted = { extents: [{ fd: scattered.memory.fd, offset: 1, length: 1 }, ...extents] };
    const gathered = await mapPicture(layoutOf(shifted, 1));
    expect([stitched.tier, gathered.tier]).toEqual(["resource", "resource-gather"]);
    expect(mappedRuns()).toBe(1);
    expect(await gathered.checksum()).toEqual(await stitched.checksum());
    const [a, b] = [
      await encodeSources(CONFIGURATION, [stitched, stitched]),
      await encodeSources(CONFIGURATION, [gathered, gathered]),
    ];
    expect(b.errors).toEqual([]);
    expect(b.stream.equals(a.stream)).toBe(true);
  });

  it("is copied again for each frame", async () => {
    const { memory, resource } = runsOf();
    const picture = await mapPicture(layoutOf(resource));
    const before = await picture.checksum();
    const { offset } = resource.extents[3] ?? { offset: 0 };
    memory.write(offset, Buffer.from([1, 2, 3, 4]));
    expect(await picture.checksum()).not.toEqual(before);
  });

  it("needs only the visible part in staging memory, and no descriptor of the caller", async () => {
    const { memory, resource } = runsOf();
    const picture = await mapPicture({
      ...layoutOf(resource),
      visible: { x: 8, y: 40, width: 100, height: 10 },
    });
    expect(picture.bytes).toBe(9 * STRIDE + 400);
    const rows = Array.from({ length: 10 }, (_, y) =>
      BYTES.subarray((40 + y) * STRIDE + 32, (40 + y) * STRIDE + 432),
    );
    expect(await picture.checksum()).toEqual({ crc: crc32(Buffer.concat(rows)), bytes: 4000 });
    expect(memory.size).toBeGreaterThan(0);
  });

  it("is an error of the frame, not of the session, when its memory becomes shorter", async () => {
    const { memory, resource } = runsOf();
    const { picture: stitched } = await linearPicture(BYTES, GEOMETRY);
    const gathered = await mapPicture(layoutOf(resource));
    const { session, recorder } = await openSession(CONFIGURATION);
    const writable = openSync(`/proc/self/fd/${memory.fd}`, "r+");
    ftruncateSync(writable, 5000);
    session.encode(gathered, requestOf(1));
    session.encode(stitched, requestOf(2));
    await session.drain();
    await expect(gathered.checksum()).rejects.toBeInstanceOf(PictureMapError);
    expect(recorder.errors.map(({ frame }) => frame)).toEqual([1]);
    expect(recorder.errors[0]?.message).toMatch(/cannot be read: the memory has become shorter/);
    expect(recorder.packets.map(({ frame }) => frame)).toEqual([2]);
  });

  it("is rejected when it exceeds the limit of staging memory", async () => {
    const memory = new TestMemory(16384 * 20000);
    const shifted = { extents: [{ fd: memory.fd, offset: 1, length: memory.size - 1 }] };
    const planes = [{ memory: shifted, offset: 0, stride: 20000 - 16 }];
    const rejected = Picture.map({ ...geometryOf(fourcc("XR24"), 4096, 16384), planes }, budget);
    await expect(rejected).rejects.toBeInstanceOf(PictureStagingError);
    await expect(rejected).rejects.toThrow(/327\d+ bytes of staging memory, at most 268435456/);
  });
});
