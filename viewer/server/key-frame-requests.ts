import { VIEWER_LIMITS } from "../../proto/viewer-limits.ts";

/** Forwards the key-frame requests of all viewers to a source, at most one in KEY_FRAME_MS; none is lost. */
export class KeyFrameRequests {
  readonly #forward: () => void;
  #lastMs = Number.NEGATIVE_INFINITY;
  #pending: NodeJS.Timeout | undefined;

  constructor(forward: () => void) {
    this.#forward = forward;
  }

  request(): void {
    if (this.#pending !== undefined) return;
    const wait = this.#lastMs + VIEWER_LIMITS.KEY_FRAME_MS - performance.now();
    if (wait <= 0) this.#pass();
    else this.#pending = setTimeout(() => this.#pass(), wait);
  }

  /** A key frame has arrived, which serves all requests so far. */
  served(): void {
    clearTimeout(this.#pending);
    this.#pending = undefined;
  }

  #pass(): void {
    this.#pending = undefined;
    this.#lastMs = performance.now();
    this.#forward();
  }
}
