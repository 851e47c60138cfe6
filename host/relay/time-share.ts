/**
 * Bounds the time that a VM's guest makes the host spend with one kind of expensive work: one piece at a time, and after a
 * burst no more than a share of a processor. A guest that opens session after session, each as large as can be, or that
 * has thousands of runs of memory mapped again and again, waits for itself.
 */
import { Turnstile } from "./turnstile.ts";

/** A guest that starts opens all its streams at once, and one whose window changes its size opens some. */
export const BURST_MS = 1000;
const SHARE = 1 / 4;

export class TimeShare {
  readonly #turnstile = new Turnstile(1);
  readonly #now: () => number;
  /** Time that may be spent without a rest; negative while one lasts. */
  #leftMs = BURST_MS;
  #beganMs = 0;
  #endedMs: number;

  /** @param now a clock in ms */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#endedMs = now();
  }

  /** Settles when the work may begin; `leave` has to follow. */
  async enter(): Promise<void> {
    await this.#turnstile.enter();
    this.#beganMs = this.#now();
    this.#leftMs = Math.min(BURST_MS, this.#leftMs + (this.#beganMs - this.#endedMs) * SHARE);
  }

  leave(): void {
    this.#endedMs = this.#now();
    this.#leftMs -= this.#endedMs - this.#beganMs;
    const restMs = -this.#leftMs / SHARE;
    if (restMs > 0) setTimeout(() => this.#turnstile.leave(), restMs).unref();
    else this.#turnstile.leave();
  }
}
