/** Memory for test pictures: an ordinary file, which mmap treats as it treats a memfd. */
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  mappedRuns,
  Picture,
  PictureBudget,
  type PictureGeometry,
  type PictureLayout,
  type PlaneGeometry,
  type ResourceBytes,
  stagingBytes,
} from "../../../../host/native/picture.ts";

export const PAGE = 4096;

const releases: (() => unknown)[] = [];

/** Has releaseAll call a function. */
export function atEnd(release: () => unknown): void {
  releases.push(release);
}

/**
 * For afterEach: releases the sessions, pictures and memories of a test, the last first.
 *
 * @throws Error when pictures still use memory afterwards
 */
export async function releaseAll(): Promise<void> {
  for (const release of releases.splice(0).reverse()) await release();
  const used = [mappedRuns(), stagingBytes()];
  if (used.some(Boolean)) throw new Error(`${used.join(" runs and ")} bytes of staging are still in use`);
}

/** Of all pictures of a file. */
export const budget = new PictureBudget(16384);

/** Picture.map; releaseAll closes it. */
export async function mapPicture(layout: PictureLayout): Promise<Picture> {
  const picture = await Picture.map(layout, budget);
  atEnd(() => picture.close());
  return picture;
}

/** releaseAll removes it. */
export class TestMemory {
  readonly size: number;
  #descriptors: readonly number[];

  constructor(size: number) {
    this.size = size;
    const folder = mkdtempSync(join(tmpdir(), "vsockenc-memory-"));
    const file = join(folder, "memory");
    const writer = openSync(file, "w");
    ftruncateSync(writer, size);
    this.#descriptors = [openSync(file, "r"), writer];
    // The descriptors keep it; nothing is left behind, however the test ends.
    rmSync(folder, { recursive: true });
    atEnd(() => this.remove());
  }

  /** Read-only, as an exporter's is. */
  get fd(): number {
    return this.#descriptors[0] ?? -1;
  }

  /** All of it, in one run. */
  get whole(): ResourceBytes {
    return { extents: [{ fd: this.fd, offset: 0, length: this.size }] };
  }

  write(offset: number, bytes: Uint8Array): void {
    writeSync(this.#descriptors[1] ?? -1, bytes, 0, bytes.length, offset);
  }

  remove(): void {
    for (const descriptor of this.#descriptors) closeSync(descriptor);
    this.#descriptors = [];
  }
}

/** A layout that shows all of the picture; by default packed rows of four bytes a pixel. */
export function geometryOf(
  fourcc: number,
  width: number,
  height: number,
  planes: readonly PlaneGeometry[] = [{ offset: 0, stride: width * 4 }],
): PictureGeometry {
  return { width, height, fourcc, planes, visible: { x: 0, y: 0, width, height } };
}

/** A picture in a memory that holds only these bytes, in one run. */
export async function linearPicture(bytes: Uint8Array, geometry: PictureGeometry) {
  const memory = new TestMemory(Math.ceil(bytes.length / PAGE) * PAGE);
  memory.write(0, bytes);
  const { whole } = memory;
  const planes = geometry.planes.map((plane) => ({ ...plane, memory: whole }));
  return { memory, picture: await mapPicture({ ...geometry, planes }) };
}

/** A memory with room for `bytes` bytes whose pages are in a shuffled order, one extent each. */
export class ScatteredMemory {
  readonly memory: TestMemory;
  readonly resource: ResourceBytes;
  readonly #order: readonly number[];

  constructor(bytes: number, seed = 1) {
    const pages = Math.ceil(bytes / PAGE);
    this.#order = shuffled(pages, seed);
    this.memory = new TestMemory(pages * PAGE);
    this.resource = {
      extents: this.#order.map((page) => ({ fd: this.memory.fd, offset: page * PAGE, length: PAGE })),
    };
  }

  /** Writes the resource's linear bytes to where its pages are. */
  write(bytes: Uint8Array): void {
    this.#order.forEach((page, index) => {
      const part = bytes.subarray(index * PAGE, (index + 1) * PAGE);
      if (part.length > 0) this.memory.write(page * PAGE, part);
    });
  }
}

/** 0 … count-1 in an order that the seed decides. */
function shuffled(count: number, seed: number): number[] {
  const order = Array.from({ length: count }, (_, index) => index);
  let state = seed;
  for (let i = count - 1; i > 0; i--) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    const j = (state >>> 8) % (i + 1);
    const kept = order[i] as number;
    order[i] = order[j] as number;
    order[j] = kept;
  }
  return order;
}
