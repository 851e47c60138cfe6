import { VIEWER_LIMITS } from "../../proto/viewer-limits.ts";

/** Passes on a source's key-frame requests, of whichever viewers, at most one in KEY_FRAME_MS; none is forgotten. */
export class KeyFrameRequests {
  readonly #request: () => void;
  #lastMs = Number.NEGATIVE_INFINITY;
  #pending: NodeJS.Timeout | undefined;

  constructor(request: () => void) {
    this.#request = request;
  }

  ask(): void {
    if (this.#pending !== undefined) return;
    const wait = this.#lastMs + VIEWER_LIMITS.KEY_FRAME_MS - performance.now();
    if (wait <= 0) this.#pass();
    else this.#pending = setTimeout(() => this.#pass(), wait);
  }

  /** A key frame has come: it serves whoever has asked so far. */
  served(): void {
    clearTimeout(this.#pending);
    this.#pending = undefined;
  }

  #pass(): void {
    this.#pending = undefined;
    this.#lastMs = performance.now();
    this.#request();
  }
}
