/** Asks for key frames, not more often than the server listens. */
import { VIEWER_LIMITS } from "../../../proto/viewer-limits.ts";
import { now } from "./unit.ts";

export class KeyFrameRequests {
  readonly #send: () => void;
  #askedAt = Number.NEGATIVE_INFINITY;

  constructor(send: () => void) {
    this.#send = send;
  }

  /** To be called for everything that cannot be decoded: what is asked too early is asked again by the next. */
  need(): void {
    if (now() - this.#askedAt < VIEWER_LIMITS.KEY_FRAME_MS) return;
    this.#askedAt = now();
    this.#send();
  }
}
