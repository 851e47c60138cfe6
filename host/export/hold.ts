/** A bounded wait: it ends when somebody ends it or its time is over, whichever is first. */
export class Hold {
  #timer: NodeJS.Timeout | undefined;
  #listener: (() => void) | undefined;
  #onTimeout: (() => void) | undefined;

  /** @param onTimeout called before the listener if the time runs out */
  constructor(milliseconds: number, onTimeout: () => void) {
    this.#onTimeout = onTimeout;
    this.#timer = setTimeout(() => {
      this.#onTimeout?.();
      this.end();
    }, milliseconds);
  }

  /** Says what happens at the end; called once, at once if the end has come already. */
  whenEnded(listener: () => void): void {
    if (this.#timer === undefined) listener();
    else this.#listener = listener;
  }

  end(): void {
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#onTimeout = undefined;
    this.#listener?.();
  }
}
