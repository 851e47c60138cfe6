/** The guest's memory, as the front end describes it in its memory table. */
import { os } from "./os-addon.ts";

/** A guest physical range in bytes. */
export interface AddressRange {
  readonly address: number;
  readonly length: number;
}

/** Consecutive bytes of one memory, an index into `GuestMemory.memories()`. */
export interface FileRange {
  readonly memory: number;
  readonly offset: number;
  readonly length: number;
}

export class GuestMemory extends os.GuestMemory {
  /**
   * Where ranges lie in the memories, in order; adjacent results are merged.
   *
   * @param limit most results
   * @returns undefined if a byte is outside or there are more results
   */
  locate(ranges: readonly AddressRange[], limit: number): readonly FileRange[] | undefined {
    const flat = new Float64Array(ranges.length * 2);
    ranges.forEach(({ address, length }, i) => {
      flat[i * 2] = address;
      flat[i * 2 + 1] = length;
    });
    const found = this.translate(flat, limit);
    if (found === null) return undefined;
    return Array.from({ length: found.length / 3 }, (_, i) => ({
      memory: found[i * 3] ?? 0,
      offset: found[i * 3 + 1] ?? 0,
      length: found[i * 3 + 2] ?? 0,
    }));
  }
}
