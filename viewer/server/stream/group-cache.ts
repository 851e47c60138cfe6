import { VIEWER_LIMITS } from "../../../proto/viewer-limits.ts";
import type { Unit } from "./unit.ts";

/** The current group of pictures, starting with its key unit, if it stays within GROUP_UNITS and GROUP_BYTES. */
export class GroupCache {
  #units: Unit[] = [];
  #bytes = 0;

  /** Empty without a group, or when it has become too long to be replayed. */
  get units(): readonly Unit[] {
    return this.#units;
  }

  push(unit: Unit): void {
    if (unit.key) this.clear();
    else if (this.#units.length === 0) return;
    this.#units.push(unit);
    this.#bytes += unit.bytes;
    const tooLong = this.#units.length > VIEWER_LIMITS.GROUP_UNITS || this.#bytes > VIEWER_LIMITS.GROUP_BYTES;
    // A key unit of any size is kept, because a viewer can start with it alone.
    if (tooLong && !unit.key) this.clear();
  }

  clear(): void {
    this.#units = [];
    this.#bytes = 0;
  }
}
