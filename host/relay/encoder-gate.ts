/**
 * Bounds the encoders that a guest can make the host hold: one for each link, counting those that are being opened or
 * closed. A VM opens one at a time (time-share.ts), and a process a few, so that no VM waits for all links of another. A guest
 * that opens session after session waits for itself.
 */
import type {
  EncoderBackend,
  EncoderConfiguration,
  EncoderListener,
  EncoderSession,
} from "../encoders/encoder.ts";
import type { TimeShare } from "./time-share.ts";
import { Turnstile } from "./turnstile.ts";

/** Opening one takes memory and, for hardware, its driver; a few at a time keep all processors busy. */
export const MAX_OPENING = 2;

const openings = new Turnstile(MAX_OPENING);

export class EncoderGate {
  readonly #link = new Turnstile(1);
  readonly #vm: TimeShare;

  /** @param vm common to all links of the VM */
  constructor(vm: TimeShare) {
    this.#vm = vm;
  }

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
      await this.#vm.enter();
      await openings.enter();
      try {
        if (isWanted()) session = await backend.open(configuration, listener);
      } finally {
        openings.leave();
        this.#vm.leave();
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
