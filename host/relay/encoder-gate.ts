/**
 * Bounds the encoders that a guest can make the host hold: one for each link, counting those that are being opened or
 * closed, and few at a time that a process opens. A guest that opens session after session waits for itself.
 */
import type {
  EncoderBackend,
  EncoderConfiguration,
  EncoderListener,
  EncoderSession,
} from "../encoders/encoder.ts";

/** Opening one takes memory and, for hardware, its driver; a few at a time keep all processors busy. */
const MAX_OPENING = 2;

/** Lets a number of tasks run at a time, in the order in which they came. */
class Turnstile {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(places: number) {
    this.#free = places;
  }

  async enter(): Promise<void> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free += 1;
    else next();
  }
}

const openings = new Turnstile(MAX_OPENING);

export class EncoderGate {
  readonly #link = new Turnstile(1);

  /**
   * Opens an encoder when the link's last one has been closed.
   *
   * @param isWanted asked when it could be opened
   * @returns undefined if it is no longer wanted
   * @throws as EncoderBackend.open
   */
  async open(
    backend: EncoderBackend,
    configuration: EncoderConfiguration,
    listener: EncoderListener,
    isWanted: () => boolean,
  ): Promise<EncoderSession | undefined> {
    await this.#link.enter();
    let session: EncoderSession | undefined;
    try {
      await openings.enter();
      try {
        if (isWanted()) session = await backend.open(configuration, listener);
      } finally {
        openings.leave();
      }
    } finally {
      if (session === undefined) this.#link.leave();
    }
    return session;
  }

  /** Closes what `open` has opened, and lets the link's next encoder in. */
  async close(session: EncoderSession): Promise<void> {
    try {
      await session.close();
    } finally {
      this.#link.leave();
    }
  }
}
