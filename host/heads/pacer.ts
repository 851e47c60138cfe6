/**
 * Makes pictures when something has changed, at most at a rate, one at a time.
 *
 * Changes that come while one is being made, or too soon after it, count together: whoever makes the next picture sees
 * all of them. After the last change a picture always follows.
 */

/** `changed` after a rest counts at once; a timer that fires late must not make the rate drop. */
export class Pacer {
  readonly #intervalMs: number;
  readonly #make: (changedMs: number) => Promise<void>;
  /** By performance.now(): the first change that no picture has; undefined if there is none. */
  #changedMs: number | undefined;
  #notBeforeMs = 0;
  #making = false;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  /**
   * @param rate pictures a second at the most
   * @param make makes one, and settles when the next may begin; never rejects. Gets the time of the first change in it.
   */
  constructor(rate: number, make: (changedMs: number) => Promise<void>) {
    this.#intervalMs = 1000 / rate;
    this.#make = make;
  }

  changed(): void {
    this.#changedMs ??= performance.now();
    this.#next();
  }

  /** Tries again, with or without a change, after a while in which nothing is made. */
  retryAfter(ms: number): void {
    this.#changedMs ??= performance.now();
    this.#notBeforeMs = Math.max(this.#notBeforeMs, performance.now() + ms);
    this.#next();
  }

  /** What is being made is not waited for. */
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
    // Counted from when it was due: a late timer does not make the pictures fewer.
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
