/** Which pages of a memory are in use. */
import type { Extent } from "../../../proto/export.ts";

/** Of the smallest unit that can be mapped on every system we run on. */
export const PAGE_BYTES = 4096;

/** How the pages of a resource lie in the memory. */
export type Placement =
  /** One run. */
  | "contiguous"
  /** No page behind the one before it, as in a guest whose memory is fragmented. */
  | "scattered";

export class PageAllocator {
  readonly #memory: number;
  readonly #used: Uint8Array;

  /**
   * @param memory number of the memory, for the extents
   * @param pages how many it has
   */
  constructor(memory: number, pages: number) {
    this.#memory = memory;
    this.#used = new Uint8Array(pages);
  }

  /** Takes pages; undefined if there are not enough (for "contiguous": not in one run). */
  take(pages: number, placement: Placement): Extent[] | undefined {
    const chosen = placement === "contiguous" ? this.#run(pages) : this.#descending(pages);
    if (chosen === undefined) return undefined;
    for (const { offset, length } of chosen) this.#mark(offset, length, 1);
    return chosen;
  }

  give(extents: readonly Extent[]): void {
    for (const { offset, length } of extents) this.#mark(offset, length, 0);
  }

  #mark(offset: number, length: number, used: 0 | 1): void {
    this.#used.fill(used, offset / PAGE_BYTES, (offset + length) / PAGE_BYTES);
  }

  #run(pages: number): Extent[] | undefined {
    let start = 0;
    for (let page = 0; page < this.#used.length; page++) {
      if (this.#used[page] === 1) start = page + 1;
      else if (page + 1 - start === pages) {
        return [{ memory: this.#memory, offset: start * PAGE_BYTES, length: pages * PAGE_BYTES }];
      }
    }
    return undefined;
  }

  #descending(pages: number): Extent[] | undefined {
    const extents: Extent[] = [];
    for (let page = this.#used.length - 1; page >= 0 && extents.length < pages; page--) {
      if (this.#used[page] === 1) continue;
      extents.push({ memory: this.#memory, offset: page * PAGE_BYTES, length: PAGE_BYTES });
    }
    return extents.length === pages ? extents : undefined;
  }
}
