/** What one guest can have of this process: entries of a backing, and runs and bytes of all of them together. */
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { GpuDevice } from "../../../host/gpu/device.ts";
import { SharedMemories } from "../../../host/gpu/export-source.ts";
import { GPU_LIMITS, GuestWarnings } from "../../../host/gpu/limits.ts";
import { GuestMemory } from "../../../host/native/guest-memory.ts";
import { createMemory } from "../../../host/native/os-addon.ts";
import { create, detach, gpuCommand, unref } from "./front-end.ts";

const PAGE = 4096;
/** Sparse: pages that nobody touches. */
const MEMORY_BYTES = 1 << 30;
const SIDE = 8192;
const PAGES = (SIDE * SIDE * 4) / PAGE;

const OK = 0x1100;
const OUT_OF_MEMORY = 0x1201;
const PARAMETER = 0x1205;

let memories: SharedMemories;
let memory: GuestMemory;
let device: GpuDevice;
let lines: { readonly reason?: string; readonly suppressed?: number }[];

beforeAll(() => {
  const region = { guestAddress: 0, size: MEMORY_BYTES, userAddress: 2 ** 40, fileOffset: 0 };
  memory = new GuestMemory([region], [createMemory("limits", MEMORY_BYTES)]);
  memories = new SharedMemories();
});
afterAll(() => {
  memory.close();
  memories.close();
});

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
  lines = [];
  const log = pino({ level: "warn" }, { write: (line) => lines.push(JSON.parse(line)) });
  device = new GpuDevice({ heads: 1, mode: { width: 1280, height: 800 } }, memories, new GuestWarnings(log));
  device.setMemory(memory);
});
afterEach(() => void vi.useRealTimers());

/** ATTACH_BACKING of some pages, every `stride`-th of the memory. */
function attachPages(id: number, count: number, stride: number): Buffer {
  const entries = Buffer.alloc(count * 16);
  for (let i = 0; i < count; i++) {
    entries.writeUInt32LE((i * stride * PAGE) % MEMORY_BYTES, i * 16);
    entries.writeUInt32LE(PAGE, i * 16 + 8);
  }
  return Buffer.concat([gpuCommand(0x106, [id, count]), entries]);
}

/** Type of the response. */
const perform = (command: Buffer): number => device.control(command).response.readUInt32LE(0);

describe("the entries of a backing", () => {
  it("are enough for Linux's largest framebuffer with not two pages adjacent", () => {
    expect(PAGES).toBe(GPU_LIMITS.BACKING_ENTRIES);
    expect(perform(create(1, SIDE, SIDE))).toBe(OK);
    expect(perform(attachPages(1, PAGES, 2))).toBe(OK);
    const extents = device.resource(1)?.backing?.extents;
    expect(extents).toHaveLength(PAGES);
    expect(extents?.at(-1)).toEqual({ memory: 1, offset: (PAGES - 1) * 2 * PAGE, length: PAGE });
    // Made once.
    expect(device.resource(1)?.backing?.extents).toBe(extents);
    expect(lines).toEqual([]);
  });

  it("are one run when all are adjacent", () => {
    perform(create(1, SIDE, SIDE));
    expect(perform(attachPages(1, PAGES, 1))).toBe(OK);
    expect(device.resource(1)?.backing).toMatchObject({ count: 1, bytes: PAGES * PAGE });
    expect(device.resource(1)?.backing?.extents).toEqual([{ memory: 1, offset: 0, length: PAGES * PAGE }]);
  });

  it("are rejected beyond the limit, with a reason that names it, also when they are one run", () => {
    perform(create(1, 16384, 16384));
    expect(perform(attachPages(1, PAGES + 1, 1))).toBe(PARAMETER);
    expect(device.resource(1)?.backing).toBeUndefined();
    expect(lines).toMatchObject([
      {
        reason:
          "invalid nr_entries 65537 of resource 1, from 1 to BACKING_ENTRIES 65536: use a smaller buffer, or larger runs of pages",
      },
    ]);
    expect(perform(attachPages(1, PAGES, 1))).toBe(OK);
  });

  it("fill no log when they are rejected", () => {
    perform(create(1));
    const command = gpuCommand(0x106, [1, 0xffffffff]);
    for (let i = 0; i < 10 * GPU_LIMITS.WARNINGS; i++) expect(perform(command)).toBe(PARAMETER);
    expect(lines).toHaveLength(GPU_LIMITS.WARNINGS);
    vi.advanceTimersByTime(GPU_LIMITS.WARNING_PERIOD_MS);
    perform(command);
    expect(lines.at(-2)?.suppressed).toBe(9 * GPU_LIMITS.WARNINGS);
  });
});

describe("the runs of all resources together", () => {
  it("are bounded; those of a resource that is detached or freed are free again", () => {
    const full = GPU_LIMITS.TOTAL_EXTENTS / PAGES;
    for (let id = 1; id <= full + 1; id++) expect(perform(create(id, SIDE, SIDE))).toBe(OK);
    for (let id = 1; id <= full; id++) expect(perform(attachPages(id, PAGES, 2))).toBe(OK);
    const last = full + 1;
    expect(perform(attachPages(last, 1, 2))).toBe(OUT_OF_MEMORY);
    expect(device.resource(last)?.backing).toBeUndefined();
    expect(lines).toHaveLength(1);
    expect(lines[0]?.reason).toContain(
      `with the backing of resource ${last}, all resources have 1048577 runs of memory and`,
    );
    expect(perform(detach(1))).toBe(OK);
    expect(perform(attachPages(last, PAGES, 2))).toBe(OK);
    expect(perform(attachPages(1, 1, 2))).toBe(OUT_OF_MEMORY);
    expect(perform(unref(2))).toBe(OK);
    expect(perform(attachPages(1, PAGES, 2))).toBe(OK);
  });

  it("are bounded in bytes as well, which a guest reaches that attaches its memory many times over", () => {
    const times = GPU_LIMITS.TOTAL_BACKING_BYTES / MEMORY_BYTES;
    const whole = (count: number): Buffer =>
      gpuCommand(0x106, [1, count, ...Array.from({ length: count }, () => [0, 0, MEMORY_BYTES, 0]).flat()]);
    perform(create(1));
    expect(perform(whole(times + 1))).toBe(OUT_OF_MEMORY);
    expect(lines[0]?.reason).toContain("at most TOTAL_EXTENTS 1048576 and TOTAL_BACKING_BYTES 1099511627776");
    expect(perform(whole(times))).toBe(OK);
  });
});
