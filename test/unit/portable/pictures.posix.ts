/**
 * Pictures on a system whose pages are of 16 KiB and whose shared memory can only be mapped. A guest's pages are of
 * 4 KiB, so its resources cannot be stitched: the gather tier carries them.
 */
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ExportClient } from "../../../host/export/client.ts";
import { closeDescriptor, createMemory, memoryStatus, writeMemory } from "../../../host/native/os-addon.ts";
import { mappedRuns, Picture, type ResourceBytes, stagingBytes } from "../../../host/native/picture.ts";
import { fourcc } from "../../../proto/formats.ts";
import { temporaryFolder } from "../../support/folder.ts";
import { MemfdExporter } from "../../support/memfd/memfd-exporter.ts";
import { budget, geometryOf } from "../encoders/support/memory.ts";

const GUEST_PAGE = 4096;
const HOST_PAGE = 16384;
const [WIDTH, HEIGHT] = [256, 200];
const STRIDE = WIDTH * 4;
const BYTES = Buffer.from(Array.from({ length: STRIDE * HEIGHT }, (_, at) => (at * 7) ^ (at >> 9)));
const CHECKSUM = { crc: crc32(BYTES), bytes: BYTES.length };

const folder = temporaryFolder();
let memory: number;
let picture: Picture | undefined;

beforeEach(() => {
  memory = createMemory("pictures", 4 * BYTES.length);
});
afterEach(async () => {
  await picture?.close();
  picture = undefined;
  closeDescriptor(memory);
  expect([mappedRuns(), stagingBytes()]).toEqual([0, 0]);
});

async function map(resource: ResourceBytes): Promise<Picture> {
  const planes = [{ memory: resource, offset: 0, stride: STRIDE }];
  picture = await Picture.map({ ...geometryOf(fourcc("XR24"), WIDTH, HEIGHT), planes }, budget);
  return picture;
}

/** The picture's bytes in runs of `length`, the last first, every `step` bytes behind `lead` bytes of the memory. */
function runs(length: number, lead = 0, step = length): ResourceBytes {
  const count = Math.ceil(BYTES.length / length);
  return {
    extents: Array.from({ length: count }, (_, index) => {
      const part = BYTES.subarray(index * length, (index + 1) * length);
      const offset = lead + (count - 1 - index) * step;
      writeMemory(memory, offset, part);
      return { fd: memory, offset, length: part.length };
    }),
  };
}

it("runs on the build that it is about: memory has no identity, and whole pages", () => {
  const { identity, size } = memoryStatus(memory);
  expect(memoryStatus(memory).identity).not.toBe(identity);
  expect(size % HOST_PAGE).toBe(0);
});

describe("a resource", () => {
  it.each([
    ["in a guest's pages, none behind the one before it", GUEST_PAGE, 0],
    ["in a guest's pages, each at one of the host's", GUEST_PAGE, 0, HOST_PAGE],
    ["in one run that begins at a guest's page, but not at one of the host's", BYTES.length, GUEST_PAGE],
    ["in the host's pages, but behind a guest's page", HOST_PAGE, GUEST_PAGE],
  ])("%s is gathered", async (_title, length, lead, step = length) => {
    const { tier, runs: count } = await map(runs(length, lead, step));
    expect({ tier, count }).toEqual({ tier: "resource-gather", count: Math.ceil(BYTES.length / length) });
    expect(await picture?.checksum()).toEqual(CHECKSUM);
  });

  it("in the host's own pages is stitched", async () => {
    expect((await map(runs(HOST_PAGE))).tier).toBe("resource");
    expect(await picture?.checksum()).toEqual(CHECKSUM);
  });

  it("is read again for each frame, up to the last byte of its memory", async () => {
    const { size } = memoryStatus(memory);
    const gathered = await map(runs(BYTES.length, size - BYTES.length));
    expect(await gathered.checksum()).toEqual(CHECKSUM);
    writeMemory(memory, size - 1, Buffer.from([0xff]));
    const changed = Buffer.from(BYTES);
    changed[BYTES.length - 1] = 0xff;
    expect(await gathered.checksum()).toEqual({ ...CHECKSUM, crc: crc32(changed) });
  });
});

it("goes from an exporter to a reader as it does on Linux", async () => {
  const path = join(folder, "export");
  const exporter = new MemfdExporter({ path, bytes: 4 * BYTES.length }, pino({ level: "silent" }));
  const ignore = (): undefined => undefined;
  const events = { onRevoke: ignore, onScanout: ignore, onDamage: ignore, onClose: ignore };
  const client = await ExportClient.connect(path, events);
  try {
    exporter.create(5, { width: WIDTH, height: HEIGHT, placement: "scattered" });
    exporter.write(5, BYTES);
    const { extents, memories } = await client.acquire(5);
    const fd = (id: number): number => memories.get(id)?.descriptor ?? -1;
    await map({ extents: extents.map(({ memory: id, offset, length }) => ({ fd: fd(id), offset, length })) });
    expect(picture?.tier).toBe("resource-gather");
    expect(await picture?.checksum()).toEqual(CHECKSUM);
  } finally {
    client.close();
    exporter.close();
  }
});
