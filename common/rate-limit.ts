/** Allows a number of events per second, and as many in one burst. */
export class RateLimit {
  readonly #perSecond: number;
  #left: number;
  #sinceMs = performance.now();

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#left = perSecond;
  }

  /** Counts an event if it is within the limit, and returns whether it is. */
  take(): boolean {
    const now = performance.now();
    this.#left = Math.min(this.#perSecond, this.#left + ((now - this.#sinceMs) / 1000) * this.#perSecond);
    this.#sinceMs = now;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }
}
