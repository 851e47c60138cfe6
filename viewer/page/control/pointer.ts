/** Sends the pointer's position, buttons and wheel to the guest. */

/** The fields of Pointer in viewer.proto. */
export interface PointerMessage {
  readonly x: number;
  readonly y: number;
  readonly buttons: number;
  readonly wheelX: number;
  readonly wheelY: number;
}

const SCALE = 65_535;
/** Left, right and middle of MouseEvent.buttons. */
const BUTTONS = 0b111;
const WHEEL_STEP = 120;
/** A wheel's notch in the units of WheelEvent.deltaMode: pixels, lines, pages. */
const NOTCH = [100, 3, 1] as const;
const MAX_WHEEL = 100 * WHEEL_STEP;

export interface PointerEvents {
  /** @param disposable whether the next message replaces this one */
  onPointer(message: PointerMessage, disposable: boolean): void;
}

/** Sends pointer events on the element that shows the picture, until closed. */
export class PointerInput {
  readonly #element: HTMLElement;
  readonly #events: PointerEvents;
  readonly #listeners = new AbortController();
  #last = { x: 0, y: 0, buttons: 0 };
  /** The fraction of a wheel step (1/120 notch) that was not sent yet. */
  #rest = { x: 0, y: 0 };

  constructor(element: HTMLElement, events: PointerEvents) {
    this.#element = element;
    this.#events = events;
    const { signal } = this.#listeners;
    element.addEventListener("pointermove", (event) => this.#onPointer(event), { signal });
    element.addEventListener("pointerup", (event) => this.#onPointer(event), { signal });
    element.addEventListener(
      "pointerdown",
      (event) => {
        // A drag may leave the picture.
        element.setPointerCapture(event.pointerId);
        this.#onPointer(event);
      },
      { signal },
    );
    element.addEventListener("pointercancel", () => this.#release(), { signal });
    window.addEventListener("blur", () => this.#release(), { signal });
    element.addEventListener("contextmenu", (event) => event.preventDefault(), { signal });
    element.addEventListener("wheel", (event) => this.#onWheel(event), { signal, passive: false });
  }

  close(): void {
    this.#listeners.abort();
    this.#release();
  }

  #onPointer(event: PointerEvent): void {
    event.preventDefault();
    if (event.type === "pointerdown") this.#element.focus({ preventScroll: true });
    const buttons = event.buttons & BUTTONS;
    const disposable = buttons === this.#last.buttons;
    this.#last = { ...this.#position(event), buttons };
    this.#events.onPointer({ ...this.#last, wheelX: 0, wheelY: 0 }, disposable);
  }

  #onWheel(event: WheelEvent): void {
    event.preventDefault();
    const perNotch = NOTCH[event.deltaMode as 0 | 1 | 2] ?? NOTCH[0];
    const whole = (delta: number, rest: number): { steps: number; rest: number } => {
      const exact = (delta / perNotch) * WHEEL_STEP + rest;
      const steps = Math.trunc(Math.min(Math.max(exact, -MAX_WHEEL), MAX_WHEEL));
      return { steps, rest: (exact - steps) % 1 };
    };
    const x = whole(event.deltaX, this.#rest.x);
    const y = whole(event.deltaY, this.#rest.y);
    this.#rest = { x: x.rest, y: y.rest };
    if (x.steps === 0 && y.steps === 0) return;
    this.#last = { ...this.#last, ...this.#position(event) };
    this.#events.onPointer({ ...this.#last, wheelX: x.steps, wheelY: y.steps }, false);
  }

  #position(event: MouseEvent): { x: number; y: number } {
    const { left, top, width, height } = this.#element.getBoundingClientRect();
    const scaled = (value: number, size: number): number =>
      size === 0 ? 0 : Math.round(Math.min(Math.max(value / size, 0), 1) * SCALE);
    return { x: scaled(event.clientX - left, width), y: scaled(event.clientY - top, height) };
  }

  #release(): void {
    if (this.#last.buttons === 0) return;
    this.#last = { ...this.#last, buttons: 0 };
    this.#events.onPointer({ ...this.#last, wheelX: 0, wheelY: 0 }, false);
  }
}
