/**
 * The guest's memory, as the front end describes it, and the rings in it. Bytes are copied in and out with checks;
 * an address outside is an ordinary result, for guests are hostile.
 */
import { errorText } from "../../common/error-text.ts";
import { type MemoryStatus, type NativeGuestMemory, os, type RegionDescription } from "./os-addon.ts";

export type { MemoryStatus, RegionDescription };

/** A guest physical range in bytes. */
export interface AddressRange {
  readonly address: number;
  readonly length: number;
}

/** Consecutive bytes of one memory, which is named by its place in `GuestMemory.memories`. */
export interface FileRange {
  readonly memory: number;
  readonly offset: number;
  readonly length: number;
}

/** The front end's memory table is wrong or cannot be mapped. */
export class MemoryTableError extends Error {
  override readonly name = "MemoryTableError";
}

export class GuestMemory {
  readonly #native: NativeGuestMemory;
  /** The files behind the regions; several regions are often views of one. */
  readonly memories: readonly MemoryStatus[];

  /**
   * Maps the regions.
   *
   * @param descriptors one for each region; they are taken over in any case
   * @throws MemoryTableError
   */
  constructor(regions: readonly RegionDescription[], descriptors: readonly number[]) {
    try {
      this.#native = new os.GuestMemory(regions, descriptors);
    } catch (error) {
      throw new MemoryTableError(errorText(error), { cause: error });
    }
    this.memories = this.#native.memories();
  }

  /** For Virtqueue. */
  get native(): NativeGuestMemory {
    return this.#native;
  }

  /** Copies bytes out; undefined if one of them is outside. */
  read(address: number, length: number): Buffer | undefined {
    return this.#native.read(address, length) ?? undefined;
  }

  /** Copies bytes in; false, with nothing written, if one of them is outside. */
  write(address: number, bytes: Uint8Array): boolean {
    return this.#native.write(address, bytes);
  }

  /**
   * Where ranges lie in the files, in order, neighbours made one.
   *
   * @param limit most results
   * @returns undefined if a byte is outside or there are more results
   */
  translate(ranges: readonly AddressRange[], limit: number): readonly FileRange[] | undefined {
    const flat = new Float64Array(ranges.length * 2);
    ranges.forEach(({ address, length }, i) => {
      flat[i * 2] = address;
      flat[i * 2 + 1] = length;
    });
    const found = this.#native.translate(flat, limit);
    if (found === null) return undefined;
    return Array.from({ length: found.length / 3 }, (_, i) => ({
      memory: found[i * 3] ?? 0,
      offset: found[i * 3 + 1] ?? 0,
      length: found[i * 3 + 2] ?? 0,
    }));
  }

  /** A new descriptor of one of `memories` that only reads; the file's mode becomes 0600. */
  openMemory(memory: number): number {
    return this.#native.openMemory(memory);
  }

  /** Unmaps, when the last queue in it is closed too. Nothing else may be called afterwards. */
  close(): void {
    this.#native.close();
  }
}
