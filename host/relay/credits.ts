/**
 * Credits (PROTOCOL.md, "Credits"): the limit on bytes of bulk messages in flight, per direction and epoch.
 */

/** The sender's account of the peer's grants. */
export class SendCredit {
  #granted: number;
  #sent = 0;

  /** @param window the first grant, in bytes */
  constructor(window: number) {
    this.#granted = window;
  }

  /** Applies a Credit. Totals only rise, so a late one has no effect. */
  grant(totalBytes: number): void {
    this.#granted = Math.max(this.#granted, totalBytes);
  }

  /** Spends `bytes` if the grant covers them. */
  spend(bytes: number): boolean {
    if (this.#sent + bytes > this.#granted) return false;
    this.#sent += bytes;
    return true;
  }
}

/** The receiver's account: grants one window beyond the processed bytes, so no more than that ever waits. */
export class ReceiveCredit {
  readonly #window: number;
  #granted: number;
  #received = 0;
  #consumed = 0;

  /** @param window bytes granted by Welcome */
  constructor(window: number) {
    this.#window = window;
    this.#granted = window;
  }

  /**
   * Counts a received bulk message.
   *
   * @returns false if the peer exceeded its grant
   */
  receive(bytes: number): boolean {
    this.#received += bytes;
    return this.#received <= this.#granted;
  }

  /**
   * Counts processed bulk bytes.
   *
   * @returns a new total to announce, once a quarter of the window has been used
   */
  consume(bytes: number): number | undefined {
    this.#consumed += bytes;
    const total = this.#consumed + this.#window;
    if (total - this.#granted < this.#window / 4) return undefined;
    this.#granted = total;
    return total;
  }
}
