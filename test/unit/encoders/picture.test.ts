import { closeSync, openSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import {
  InvalidLayoutError,
  LayoutOutsideResourceError,
  mappedRuns,
  Picture,
  type PictureLayout,
  PictureMapError,
  PictureUnstitchableError,
  pixelFormats,
  type ResourceBytes,
  UnsupportedFormatError,
} from "../../../host/native/picture.ts";
import { fourcc, PIXEL_FORMATS } from "../../../proto/formats.ts";
import {
  budget,
  geometryOf,
  mapPicture,
  PAGE,
  releaseAll,
  ScatteredMemory,
  TestMemory,
} from "./support/memory.ts";
import { FORMATS } from "./support/pattern.ts";

afterEach(releaseAll);

function layoutOf(
  memory: ResourceBytes,
  {
    offset = 0,
    stride = 256,
    ...changes
  }: Partial<PictureLayout> & { offset?: number; stride?: number } = {},
): PictureLayout {
  const { width = 64, height = 64 } = changes;
  const planes = [{ memory, offset, stride }];
  return { ...geometryOf(FORMATS.XR24.fourcc, width, height), planes, ...changes };
}

describe("Picture.map", () => {
  it("maps what the layout needs, adjacent extents as one run", async () => {
    const memory = new TestMemory(16 * PAGE);
    const pages = [0, 1, 2, 3, 8, 9, 6];
    const extents = pages.map((page) => ({ fd: memory.fd, offset: page * PAGE, length: PAGE }));
    const picture = await mapPicture(layoutOf({ extents }, { offset: 2 * PAGE, height: 65 }));
    // 2 pages of offset and 65 rows of 256 bytes: pages 0 to 3, and 8, 9, and 256 bytes of 6.
    expect(picture.bytes).toBe(2 * PAGE + 65 * 256);
    expect(picture.runs).toBe(3);
    expect(mappedRuns()).toBe(3);
  });

  it("takes extents with an unaligned end in the middle if the next one continues it", async () => {
    const memory = new TestMemory(4 * PAGE);
    const extents = [
      { fd: memory.fd, offset: 0, length: 100 },
      { fd: memory.fd, offset: 100, length: 0 },
      { fd: memory.fd, offset: 100, length: 4 * PAGE - 100 },
    ];
    expect((await mapPicture(layoutOf({ extents }))).runs).toBe(1);
  });

  it("does not need the descriptors once it has been called", async () => {
    const scattered = new ScatteredMemory(64 * 256);
    const mapping = mapPicture(layoutOf(scattered.resource));
    scattered.memory.remove();
    expect((await mapping).runs).toBeGreaterThan(1);
  });

  it("is unmapped once close() has settled, also when it is called twice", async () => {
    const scattered = new ScatteredMemory(64 * 256);
    const maps = (): number => readFileSync("/proc/self/maps", "utf8").split("vsockenc-memory-").length - 1;
    const before = maps();
    const picture = await Picture.map(layoutOf(scattered.resource), budget);
    expect(maps()).toBe(before + picture.runs);
    await Promise.all([picture.close(), picture.close()]);
    await picture.close();
    expect(maps()).toBe(before);
  });

  it("accepts the formats of the protocol", () => {
    const known = PIXEL_FORMATS.map(({ drm, name }) => ({ fourcc: fourcc(drm), name }));
    expect(pixelFormats()).toEqual(known);
  });
});

describe("a hostile layout", () => {
  const SIZE = 64 * 256;
  const [layout, format, outside] = [InvalidLayoutError, UnsupportedFormatError, LayoutOutsideResourceError];
  const visible = (x: number, width: number) => ({ visible: { x, y: 0, width, height: 64 } });
  const cases: [string, object, new (message: string) => Error, RegExp][] = [
    ["stride 0", { stride: 0 }, layout, /stride is 0, not between the 256 bytes/],
    ["stride below a row", { stride: 255 }, layout, /stride is 255/],
    ["a stride whose rows overflow", { stride: 2 ** 52 }, layout, /stride is 4503599627370496/],
    ["a stride of 2^31", { stride: 2 ** 31 }, layout, /and 1048576/],
    ["a negative stride", { stride: -256 }, layout, /planes\[0\]\.stride is -256/],
    ["a fractional stride", { stride: 256.5 }, layout, /whole number/],
    ["a stride that is no number", { stride: Number.NaN }, layout, /NaN/],
    ["an offset of 1 byte too much", { offset: 1 }, outside, /16384 bytes from byte 1 on.* 16384/],
    ["an offset of 2^53-1", { offset: 2 ** 53 - 1 }, outside, /from byte 9007199254740991/],
    ["an offset of 2^53", { offset: 2 ** 53 }, layout, /offset is 9007199254740992/],
    ["a row too many", { height: 65 }, outside, /16640 bytes/],
    ["width 0", { width: 0 }, layout, /width is 0/],
    ["width 16385", { width: 16385 }, layout, /width is 16385, not between 1 and 16384/],
    ["height 2^32", { height: 2 ** 32 }, layout, /height is 4294967296/],
    ["no planes", { planes: [] }, format, /BGRx has 1 plane\(s\), the layout has 0/],
    ["a plane too few", { fourcc: fourcc("NV12") }, format, /NV12 has 2 plane\(s\), .* has 1/],
    ["an unknown format", { fourcc: fourcc("NV21") }, format, /expected one of BGRx, .*, NV12, I420/],
    ["a format above 32 bits", { fourcc: 2 ** 40 }, format, /fourcc 1099511627776/],
    ["a visible part that ends outside", visible(1, 64), layout, /64x64 at 1,0, is not inside .* 64x64/],
    ["a visible part whose end overflows", visible(2 ** 53 - 1, 16), layout, /not inside/],
    ["an empty visible part", visible(0, 0), layout, /visible.width is 0/],
  ];
  it.each(cases)("with %s is rejected", async (_name, changes, Fault, message) => {
    const memory = new TestMemory(SIZE);
    const rejected = mapPicture(layoutOf(memory.whole, changes));
    await expect(rejected).rejects.toBeInstanceOf(Fault);
    await expect(rejected).rejects.toThrow(message);
  });

  it("with a last row that is not padded is legal", async () => {
    const memory = new TestMemory(SIZE);
    const extents = [{ fd: memory.fd, offset: 0, length: 63 * 256 + 4 * 60 }];
    expect((await mapPicture(layoutOf({ extents }, { width: 60 }))).bytes).toBe(63 * 256 + 240);
  });
});

describe("hostile extents", () => {
  async function rejectionOf(extents: ResourceBytes["extents"]): Promise<unknown> {
    return Picture.map(layoutOf({ extents }), budget).then(
      () => undefined,
      (error: unknown) => error,
    );
  }

  it("beyond the memory are rejected before anything could raise SIGBUS", async () => {
    const { fd } = new TestMemory(4 * PAGE - 1);
    const error = await rejectionOf([{ fd, offset: 0, length: 4 * PAGE }]);
    expect(error).toBeInstanceOf(PictureMapError);
    expect(String(error)).toMatch(/not inside its memory of 16383 bytes/);
  });

  it("whose sum overflows are rejected", async () => {
    const { fd } = new TestMemory(PAGE);
    const huge = { fd, offset: 0, length: 2 ** 53 - 1 };
    const error = await rejectionOf(Array.from({ length: 2048 }, () => huge));
    expect(error).toBeInstanceOf(InvalidLayoutError);
  });

  it.each([0x80000000, -1, 1.5])("with descriptor %s are rejected", async (fd) => {
    expect(await rejectionOf([{ fd, offset: 0, length: 16384 }])).toBeInstanceOf(InvalidLayoutError);
  });

  it("with a descriptor that is closed, a folder or a socket are rejected", async () => {
    const folder = openSync(tmpdir(), "r");
    const closed = openSync(tmpdir(), "r");
    closeSync(closed);
    const server = createServer();
    await new Promise<void>((resolve) => {
      server.listen(join(tmpdir(), `vsockenc-picture-test-${process.pid}.sock`), resolve);
    });
    const { _handle } = server as unknown as { _handle: { fd: number } };
    for (const fd of [folder, closed, _handle.fd]) {
      expect(await rejectionOf([{ fd, offset: 0, length: 16384 }])).toBeInstanceOf(PictureMapError);
    }
    closeSync(folder);
    await new Promise((resolve) => server.close(resolve));
  });

  it("that are too many for the wire are rejected", async () => {
    const { fd } = new TestMemory(PAGE);
    const error = await rejectionOf(Array.from({ length: 16385 }, () => ({ fd, offset: 0, length: PAGE })));
    expect(error).toBeInstanceOf(PictureUnstitchableError);
  });

  it("share a budget of 16,384 runs, and return their part", async () => {
    const { fd } = new TestMemory(3 * PAGE);
    const one = (index: number) => ({ fd, offset: (index % 2) * 2 * PAGE, length: PAGE });
    const extents = Array.from({ length: 16384 }, (_, index) => one(index));
    const all = layoutOf({ extents }, { width: 1024, height: 16384, stride: PAGE });
    const picture = await Picture.map(all, budget);
    expect(picture.runs).toBe(16384);
    expect(await mapPicture(layoutOf({ extents }))).toMatchObject({ tier: "resource-gather", runs: 4 });
    expect(mappedRuns()).toBe(16384);
    await picture.close();
    expect(await mapPicture(layoutOf({ extents }))).toMatchObject({ tier: "resource", runs: 4 });
  });
});
