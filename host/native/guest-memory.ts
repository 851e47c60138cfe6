/** The guest's memory, as the front end describes it in its memory table. */
import { os } from "./os-addon.ts";

/** A guest physical range in bytes. */
export interface AddressRange {
  readonly address: number;
  readonly length: number;
}

/** Of a guest physical range in a list of numbers: address and length. */
export const RANGE_NUMBERS = 2;
/** Of a run in a list of numbers: memory (an index into `GuestMemory.memories()`), offset and length. */
export const RUN_NUMBERS = 3;

export class GuestMemory extends os.GuestMemory {
  /**
   * Where ranges lie in the memories, in order; adjacent runs are merged. Lists of numbers, because a list has tens of
   * thousands and an object for each would take tens of milliseconds.
   *
   * @param ranges RANGE_NUMBERS each
   * @param limit most runs
   * @returns RUN_NUMBERS each; undefined if a byte is outside or there are more runs
   */
  locate(ranges: Float64Array, limit: number): Float64Array | undefined {
    return this.translate(ranges, limit) ?? undefined;
  }
}
