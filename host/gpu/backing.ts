import type { Extent } from "../../proto/export.ts";
import { NOT_SHAREABLE } from "../export/source.ts";
import { type AddressRange, RUN_NUMBERS } from "../native/guest-memory.ts";

/**
 * The pages of a resource. They are kept as GuestMemory.locate finds them; extents are made when a relay asks for the
 * first time, because most resources are never read by one, and a guest may attach and detach all day.
 */
export class Backing {
  readonly generation: number;
  /** Guest addresses of the bytes; only of a resource that can be a pointer. */
  readonly addresses: readonly AddressRange[] | undefined;
  /** How many extents there are. */
  readonly count: number;
  readonly bytes: number;
  readonly #memoryIds: readonly number[];
  #runs: Float64Array;
  #extents: readonly Extent[] | undefined;

  /**
   * @param generation never used before
   * @param runs RUN_NUMBERS each
   * @param memoryIds number of each memory of the runs for relays
   */
  constructor(
    generation: number,
    runs: Float64Array,
    memoryIds: readonly number[],
    addresses?: readonly AddressRange[],
  ) {
    this.generation = generation;
    this.addresses = addresses;
    this.count = runs.length / RUN_NUMBERS;
    let bytes = 0;
    for (let at = 2; at < runs.length; at += RUN_NUMBERS) bytes += runs[at] ?? 0;
    this.bytes = bytes;
    this.#memoryIds = memoryIds;
    this.#runs = runs;
  }

  /** In order. Memory NOT_SHAREABLE: these bytes cannot be shared. */
  get extents(): readonly Extent[] {
    this.#extents ??= this.#makeExtents();
    return this.#extents;
  }

  #makeExtents(): readonly Extent[] {
    const runs = this.#runs;
    // One form is enough.
    this.#runs = new Float64Array();
    return Array.from({ length: this.count }, (_, i) => ({
      memory: this.#memoryIds[runs[i * RUN_NUMBERS] ?? 0] ?? NOT_SHAREABLE,
      offset: runs[i * RUN_NUMBERS + 1] ?? 0,
      length: runs[i * RUN_NUMBERS + 2] ?? 0,
    }));
  }
}
