/**
 * Detects a driver that hangs: it owes an answer and gives none.
 *
 * Only seconds in which this thread ran count, so neither a process that was stopped nor a host that was asleep looks like a
 * driver that hangs.
 */

/** Hardware answers within some frames' time. */
const HANG_S = 5;

export class HangWatch {
  readonly #isOwed: () => boolean;
  readonly #onHang: (seconds: number) => void;
  /** Since the last answer; the first may have begun before it. */
  #ticks = 0;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param isOwed whether the driver owes an answer
   * @param onHang called once, with the length of the silence
   */
  constructor(isOwed: () => boolean, onHang: (seconds: number) => void) {
    this.#isOwed = isOwed;
    this.#onHang = onHang;
  }

  /** The driver has been asked for something. */
  asked(): void {
    if (this.#timer !== undefined) return;
    this.#ticks = 0;
    this.#timer = setInterval(() => this.#tick(), 1000).unref();
  }

  /** The driver has answered something. */
  answered(): void {
    this.#ticks = 0;
  }

  #tick(): void {
    const isOwed = this.#isOwed();
    if (isOwed && ++this.#ticks <= HANG_S) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    if (isOwed) this.#onHang(HANG_S);
  }
}
