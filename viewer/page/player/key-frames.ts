/** Requests key frames, at most as often as the server accepts. */
import { VIEWER_LIMITS } from "../../../proto/viewer-limits.ts";
import { now } from "./unit.ts";

export class KeyFrameRequests {
  readonly #send: () => void;
  #requestedAt = Number.NEGATIVE_INFINITY;

  constructor(send: () => void) {
    this.#send = send;
  }

  /** Call this for every unit that cannot be decoded; a call that comes too early is dropped, and a later one is sent. */
  need(): void {
    if (now() - this.#requestedAt < VIEWER_LIMITS.KEY_FRAME_MS) return;
    this.#requestedAt = now();
    this.#send();
  }
}
