/**
 * The device against a small model of its resource table: whatever the commands, the answers and what readers can see
 * are the model's, and nothing throws or is left behind.
 */
import fc from "fast-check";
import { pino } from "pino";
import { afterAll, beforeAll, expect, it } from "vitest";
import { GpuDevice } from "../../../host/gpu/device.ts";
import { SharedMemories } from "../../../host/gpu/export-source.ts";
import { GuestWarnings } from "../../../host/gpu/limits.ts";
import { GuestMemory } from "../../../host/native/guest-memory.ts";
import { createMemory } from "../../../host/native/os-addon.ts";
import { attach, create, detach, flush, gpuCommand, setScanout, unref } from "./front-end.ts";

const MEMORY_BYTES = 1 << 20;
const PAGE = 4096;
const HEADS = 16;
const SEED = 3;

const OK = 0x1100;
const UNSPECIFIED = 0x1200;
const NO_HEAD = 0x1202;
const NO_RESOURCE = 0x1203;
const PARAMETER = 0x1205;

interface ModelResource {
  readonly width: number;
  readonly height: number;
  /** Offset and length, or none. */
  backing: readonly (readonly [number, number])[] | undefined;
}

/** What a guest that obeys the specification may expect. */
class Model {
  readonly resources = new Map<number, ModelResource>();
  readonly shown = new Array<number>(HEADS).fill(0);

  create(id: number, width: number, height: number): number {
    if (id === 0) return NO_RESOURCE;
    if (width === 0 || height === 0 || width > 16384 || height > 16384) return PARAMETER;
    if (this.resources.has(id)) return NO_RESOURCE;
    this.resources.set(id, { width, height, backing: undefined });
    return OK;
  }

  attach(id: number, ranges: readonly (readonly [number, number])[]): number {
    if (ranges.length === 0) return PARAMETER;
    const resource = this.resources.get(id);
    if (resource === undefined) return NO_RESOURCE;
    if (resource.backing !== undefined) return UNSPECIFIED;
    if (ranges.some(([at, length]) => at + length > MEMORY_BYTES)) return PARAMETER;
    resource.backing = ranges;
    return OK;
  }

  detach(id: number): number {
    const resource = this.resources.get(id);
    if (resource === undefined) return NO_RESOURCE;
    resource.backing = undefined;
    return OK;
  }

  unref(id: number): number {
    if (!this.resources.delete(id)) return NO_RESOURCE;
    this.shown.forEach((shown, head) => {
      if (shown === id) this.shown[head] = 0;
    });
    return OK;
  }

  show(head: number, id: number, width: number, height: number): number {
    if (head >= HEADS) return NO_HEAD;
    if (id === 0) {
      this.shown[head] = 0;
      return OK;
    }
    const resource = this.resources.get(id);
    if (resource === undefined) return NO_RESOURCE;
    if (width === 0 || height === 0 || width > resource.width || height > resource.height) return PARAMETER;
    this.shown[head] = id;
    return OK;
  }

  inside(id: number, width: number, height: number): number {
    const resource = this.resources.get(id);
    if (resource === undefined) return NO_RESOURCE;
    return width <= resource.width && height <= resource.height ? OK : PARAMETER;
  }

  transfer(id: number, width: number, height: number): number {
    const inside = this.inside(id, width, height);
    if (inside !== OK) return inside;
    return this.resources.get(id)?.backing === undefined ? UNSPECIFIED : OK;
  }
}

/** A command, and what the model says to it; undefined: anything but a success. */
interface Step {
  readonly command: Buffer;
  expected(model: Model): number | undefined;
}

/** Few, so that commands meet. */
const LAST_ID = 3;
const ids = fc.integer({ min: 0, max: LAST_ID });
const sizes = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 1, max: 8 }) },
  { weight: 1, arbitrary: fc.constantFrom(0, 16384, 16385, 0xffffffff) },
);
/** Long, or little would meet. */
const LENGTHS = { minLength: 40, maxLength: 120 };
const ranges = fc.array(
  fc.tuple(
    fc.integer({ min: 0, max: MEMORY_BYTES / PAGE }).map((page) => page * PAGE),
    fc.integer({ min: 1, max: 4 }).map((pages) => pages * PAGE),
  ),
  { maxLength: 5 },
);

const steps: fc.Arbitrary<Step> = fc.oneof(
  fc.tuple(ids, sizes, sizes).map(([id, width, height]) => ({
    command: create(id, width, height),
    expected: (model: Model) => model.create(id, width, height),
  })),
  fc.tuple(ids, ranges).map(([id, list]) => ({
    command: attach(id, list),
    expected: (model: Model) => model.attach(id, list),
  })),
  ids.map((id) => ({ command: detach(id), expected: (model: Model) => model.detach(id) })),
  ids.map((id) => ({ command: unref(id), expected: (model: Model) => model.unref(id) })),
  fc.tuple(fc.integer({ min: 0, max: HEADS }), ids, sizes, sizes).map(([head, id, width, height]) => ({
    command: setScanout(head, id, width, height),
    expected: (model: Model) => model.show(head, id, width, height),
  })),
  fc.tuple(ids, sizes, sizes).map(([id, width, height]) => ({
    command: flush(id, [0, 0, width, height]),
    expected: (model: Model) => model.inside(id, width, height),
  })),
  fc.tuple(ids, sizes, sizes).map(([id, width, height]) => ({
    command: gpuCommand(0x105, [0, 0, width, height, 0, 0, id, 0]),
    expected: (model: Model) => model.transfer(id, width, height),
  })),
  // Commands of no kind: the first byte keeps them from being one by chance.
  fc.uint8Array({ maxLength: 64 }).map((bytes) => ({
    command: Buffer.concat([Buffer.from([0xff]), bytes]),
    expected: () => undefined,
  })),
);

let memories: SharedMemories;
let memory: GuestMemory;

beforeAll(() => {
  const region = { guestAddress: 0, size: MEMORY_BYTES, userAddress: 2 ** 40, fileOffset: 0 };
  memory = new GuestMemory([region], [createMemory("properties", MEMORY_BYTES)]);
  memories = new SharedMemories();
});

afterAll(() => {
  memory.close();
  memories.close();
});

/** Neighbours made one, as the device tells them. */
function extents(list: readonly (readonly [number, number])[]): { offset: number; length: number }[] {
  const merged: { offset: number; length: number }[] = [];
  for (const [offset, length] of list) {
    const last = merged.at(-1);
    if (last !== undefined && last.offset + last.length === offset) last.length += length;
    else merged.push({ offset, length });
  }
  return merged;
}

it("agrees with the model about every answer and all that readers see", () => {
  fc.assert(
    fc.property(fc.array(steps, LENGTHS), (sequence) => {
      const options = { heads: 2, mode: { width: 1280, height: 800 } };
      const device = new GpuDevice(options, memories, new GuestWarnings(pino({ level: "silent" })));
      device.setMemory(memory);
      const revoked: number[] = [];
      device.setReader({
        revoke: (_resource, { generation }) => void revoked.push(generation),
        scanoutChanged: () => undefined,
        damaged: () => undefined,
        cursorImageChanged: () => undefined,
        cursorMoved: () => undefined,
      });
      const model = new Model();
      const generations = new Set<number>();
      for (const { command, expected } of sequence) {
        const type = device.control(command).response.readUInt32LE(0);
        const wanted = expected(model);
        if (wanted === undefined) expect(type).toBeGreaterThanOrEqual(UNSPECIFIED);
        else expect(type).toBe(wanted);
        for (let id = 0; id <= LAST_ID; id++) {
          const backing = device.resource(id)?.backing;
          const known = model.resources.get(id);
          expect(device.resource(id) === undefined).toBe(known === undefined);
          expect(backing?.extents.map(({ offset, length }) => ({ offset, length }))).toEqual(
            known?.backing && extents(known.backing),
          );
          if (backing !== undefined) {
            generations.add(backing.generation);
            expect(revoked).not.toContain(backing.generation);
          }
        }
        expect(device.scanouts.map(({ resource }) => resource)).toEqual(model.shown);
      }
      device.reset();
      // Every backing that there ever was has been taken back from its readers, once.
      expect([...revoked].sort((a, b) => a - b)).toEqual([...generations].sort((a, b) => a - b));
      for (let id = 0; id <= LAST_ID; id++) expect(device.resource(id)).toBeUndefined();
    }),
    { numRuns: 200, seed: SEED },
  );
});

it("never gives a cursor command more than an error for what is not one", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      const options = { heads: 1, mode: { width: 1280, height: 800 } };
      const device = new GpuDevice(options, memories, new GuestWarnings(pino({ level: "silent" })));
      const command = Buffer.concat([Buffer.from([0xff]), bytes]);
      expect(device.cursor(command).response.readUInt32LE(0)).toBeGreaterThanOrEqual(UNSPECIFIED);
    }),
    { numRuns: 300, seed: SEED },
  );
});
