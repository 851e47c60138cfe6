/** Forwards one viewer's pointer and keyboard to the source that it watches. */

import { RateLimit } from "../../common/rate-limit.ts";
import { ViewerProtocolError } from "../../proto/viewer-closing.ts";
import { VIEWER_LIMITS } from "../../proto/viewer-limits.ts";
import type { SourceMetrics } from "./metrics.ts";
import type { KeyInput, PointerInput, ViewerSource } from "./source.ts";

const MAX_COORDINATE = 65_535;

export class InputForwarder {
  readonly #source: ViewerSource;
  readonly #metrics: SourceMetrics;
  readonly #moves = new RateLimit(VIEWER_LIMITS.POINTER_MOVES_PER_SECOND);
  readonly #keysDown = new Set<number>();
  #pointer: PointerInput = { x: 0, y: 0, buttons: 0, wheelX: 0, wheelY: 0 };

  constructor(source: ViewerSource, metrics: SourceMetrics) {
    this.#source = source;
    this.#metrics = metrics;
  }

  /** @throws ViewerProtocolError when a field is outside its bounds */
  pointer({ x, y, buttons, wheelX, wheelY }: PointerInput): void {
    const { MAX_BUTTONS, MAX_WHEEL } = VIEWER_LIMITS;
    checkRange("Pointer.x", x, 0, MAX_COORDINATE);
    checkRange("Pointer.y", y, 0, MAX_COORDINATE);
    checkRange("Pointer.buttons", buttons, 0, MAX_BUTTONS);
    checkRange("Pointer.wheel_x", wheelX, -MAX_WHEEL, MAX_WHEEL);
    checkRange("Pointer.wheel_y", wheelY, -MAX_WHEEL, MAX_WHEEL);
    const { input } = this.#source;
    if (input === undefined) {
      this.#metrics.inputIgnored("unavailable");
      return;
    }
    // The next move makes up for a skipped one; a button or wheel event would be lost.
    const isMove = buttons === this.#pointer.buttons && wheelX === 0 && wheelY === 0;
    if (isMove && !this.#moves.take()) {
      this.#metrics.inputIgnored("rate");
      return;
    }
    this.#pointer = { x, y, buttons, wheelX, wheelY };
    input.pointer(this.#pointer);
  }

  /** @throws ViewerProtocolError when the code is invalid, or more than MAX_KEYS_DOWN are held */
  key({ code, pressed }: KeyInput): void {
    checkRange("Key.code", code, 1, VIEWER_LIMITS.MAX_KEY_CODE);
    const { input } = this.#source;
    if (input === undefined) {
      this.#metrics.inputIgnored("unavailable");
      return;
    }
    if (pressed) this.#keysDown.add(code);
    else this.#keysDown.delete(code);
    checkRange("the number of keys held down", this.#keysDown.size, 0, VIEWER_LIMITS.MAX_KEYS_DOWN);
    input.key({ code, pressed });
  }

  /** Releases the keys and buttons that the viewer holds, because it leaves. */
  release(): void {
    const { input } = this.#source;
    for (const code of this.#keysDown) input?.key({ code, pressed: false });
    this.#keysDown.clear();
    if (this.#pointer.buttons === 0) return;
    this.#pointer = { ...this.#pointer, buttons: 0, wheelX: 0, wheelY: 0 };
    input?.pointer(this.#pointer);
  }
}

/** @throws ViewerProtocolError */
export function checkRange(field: string, value: number, least: number, most: number): void {
  if (value < least || value > most) {
    throw new ViewerProtocolError("malformed", `${field} is ${value}, not within ${least} to ${most}`);
  }
}
