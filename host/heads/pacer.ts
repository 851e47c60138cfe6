/**
 * Makes pictures after changes, at a limited rate and one at a time.
 *
 * Changes while a picture is being made, or too soon after it, are merged into the next picture. A picture always follows
 * the last change. The first change after a pause is shown at once; a timer that fires late does not lower the rate.
 */
export class Pacer {
  readonly #intervalMs: number;
  readonly #make: (changedMs: number) => Promise<void>;
  /** By performance.now(): the first change that is not in a picture yet. */
  #changedMs: number | undefined;
  #notBeforeMs = 0;
  #making = false;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  /**
   * @param rate maximum pictures per second
   * @param make makes one, given the time of the first change in it; settles when the next may begin, never rejects
   */
  constructor(rate: number, make: (changedMs: number) => Promise<void>) {
    this.#intervalMs = 1000 / rate;
    this.#make = make;
  }

  changed(): void {
    this.#changedMs ??= performance.now();
    this.#next();
  }

  /** Makes a picture after this time, with or without a change, and none before. */
  retryAfter(ms: number): void {
    this.#changedMs ??= performance.now();
    this.#notBeforeMs = Math.max(this.#notBeforeMs, performance.now() + ms);
    this.#next();
  }

  /** Does not wait for the picture that is being made. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #next(): void {
    const changedMs = this.#changedMs;
    if (changedMs === undefined || this.#making || this.#stopped) return;
    clearTimeout(this.#timer);
    const now = performance.now();
    if (now < this.#notBeforeMs) {
      this.#timer = setTimeout(() => this.#next(), Math.ceil(this.#notBeforeMs - now));
      return;
    }
    // From the time when it was due, so that a late timer does not lower the rate.
    const due = Math.max(this.#notBeforeMs, now - this.#intervalMs);
    this.#notBeforeMs = due + this.#intervalMs;
    this.#changedMs = undefined;
    this.#making = true;
    void this.#make(changedMs).then(() => {
      this.#making = false;
      this.#next();
    });
  }
}
