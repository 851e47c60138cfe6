/**
 * Credits (PROTOCOL.md, "Credits"): how many bytes of bulk messages may be under way in one direction of an epoch.
 */

/** The sender's account: spends what the peer has granted. */
export class SendCredit {
  #granted: number;
  #sent = 0;

  /** @param window the first grant, in bytes */
  constructor(window: number) {
    this.#granted = window;
  }

  /** Takes a Credit; totals only rise, so one that came late changes nothing. */
  grant(totalBytes: number): void {
    this.#granted = Math.max(this.#granted, totalBytes);
  }

  /** Spends `bytes` if they fit into the grant. */
  spend(bytes: number): boolean {
    if (this.#sent + bytes > this.#granted) return false;
    this.#sent += bytes;
    return true;
  }
}

/** The receiver's account: grants a window's worth ahead of what has been dealt with, so no more than that ever waits. */
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
   * Accounts for a bulk message that has arrived.
   *
   * @returns false if the peer sent beyond its grant
   */
  receive(bytes: number): boolean {
    this.#received += bytes;
    return this.#received <= this.#granted;
  }

  /**
   * Accounts for bulk bytes that have been dealt with, and so need no room any more.
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
