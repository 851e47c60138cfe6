/** Memory for test pictures: an ordinary file, which mmap treats as it treats a memfd. */
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  Picture,
  type PictureGeometry,
  type PlaneGeometry,
  type ResourceBytes,
} from "../../../../host/native/picture.ts";

export const PAGE = 4096;

export class TestMemory {
  /** Read-only, as an exporter's is. */
  readonly fd: number;
  readonly size: number;
  readonly #writer: number;

  constructor(size: number) {
    this.size = size;
    const folder = mkdtempSync(join(tmpdir(), "vsockenc-memory-"));
    const file = join(folder, "memory");
    this.#writer = openSync(file, "w");
    ftruncateSync(this.#writer, size);
    this.fd = openSync(file, "r");
    // The descriptors keep it; nothing is left behind, however the test ends.
    rmSync(folder, { recursive: true });
  }

  write(offset: number, bytes: Uint8Array): void {
    writeSync(this.#writer, bytes, 0, bytes.length, offset);
  }

  /** `keepFd`: the reader is closed already. */
  remove(keepFd = false): void {
    if (!keepFd) closeSync(this.fd);
    closeSync(this.#writer);
  }
}

/** A memory that holds only these bytes, in one run. */
export function linearMemory(bytes: Uint8Array): { memory: TestMemory; resource: ResourceBytes } {
  const memory = new TestMemory(Math.ceil(bytes.length / PAGE) * PAGE);
  memory.write(0, bytes);
  return { memory, resource: { extents: [{ fd: memory.fd, offset: 0, length: memory.size }] } };
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

/** A picture in a memory that holds only these bytes; `remove` closes both. */
export async function linearPicture(bytes: Uint8Array, geometry: PictureGeometry) {
  const { memory, resource } = linearMemory(bytes);
  const planes = geometry.planes.map((plane) => ({ ...plane, memory: resource }));
  const picture = await Picture.map({ ...geometry, planes });
  const remove = async (): Promise<void> => {
    await picture.close();
    memory.remove();
  };
  return { picture, memory, remove };
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
