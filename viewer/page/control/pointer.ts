/** Sends the pointer's position, buttons and wheel to the guest. */
import type { OutgoingViewerMessage } from "../../../proto/viewer-messages.ts";

type PointerMessage = Extract<OutgoingViewerMessage, { type: "pointer" }>["body"];

const SCALE = 65_535;
/** Left, right and middle of MouseEvent.buttons. */
const BUTTONS = 0b111;
const WHEEL_STEP = 120;
/** A wheel's notch in the units of WheelEvent.deltaMode: pixels, lines, pages. */
const NOTCH = [100, 3, 1] as const;
const MAX_WHEEL = 100 * WHEEL_STEP;
const NO_WHEEL = { wheelX: 0, wheelY: 0 };

/**
 * Sends pointer events on the element that shows the picture.
 *
 * @param send its second argument: whether the next message replaces this one
 * @returns a function that ends it, and releases the pressed buttons
 */
export function sendPointer(
  element: HTMLElement,
  send: (message: PointerMessage, disposable: boolean) => void,
): () => void {
  const listeners = new AbortController();
  const { signal } = listeners;
  let last = { x: 0, y: 0, buttons: 0 };
  /** The fraction of a wheel step (1/120 notch) that was not sent yet. */
  let rest = { x: 0, y: 0 };

  const position = (event: MouseEvent): { x: number; y: number } => {
    const { left, top, width, height } = element.getBoundingClientRect();
    const scaled = (value: number, size: number): number =>
      size === 0 ? 0 : Math.round(Math.min(Math.max(value / size, 0), 1) * SCALE);
    return { x: scaled(event.clientX - left, width), y: scaled(event.clientY - top, height) };
  };
  const onPointer = (event: PointerEvent): void => {
    event.preventDefault();
    const buttons = event.buttons & BUTTONS;
    const disposable = buttons === last.buttons;
    last = { ...position(event), buttons };
    send({ ...last, ...NO_WHEEL }, disposable);
  };
  const onWheel = (event: WheelEvent): void => {
    event.preventDefault();
    const perNotch = NOTCH[event.deltaMode as 0 | 1 | 2] ?? NOTCH[0];
    const whole = (delta: number, before: number): { steps: number; rest: number } => {
      const exact = (delta / perNotch) * WHEEL_STEP + before;
      const steps = Math.trunc(Math.min(Math.max(exact, -MAX_WHEEL), MAX_WHEEL));
      return { steps, rest: (exact - steps) % 1 };
    };
    const [x, y] = [whole(event.deltaX, rest.x), whole(event.deltaY, rest.y)];
    rest = { x: x.rest, y: y.rest };
    if (x.steps === 0 && y.steps === 0) return;
    last = { ...last, ...position(event) };
    send({ ...last, wheelX: x.steps, wheelY: y.steps }, false);
  };
  const release = (): void => {
    if (last.buttons === 0) return;
    last = { ...last, buttons: 0 };
    send({ ...last, ...NO_WHEEL }, false);
  };
  const onDown = (event: PointerEvent): void => {
    // A drag may leave the picture.
    element.setPointerCapture(event.pointerId);
    element.focus({ preventScroll: true });
    onPointer(event);
  };
  element.addEventListener("pointermove", onPointer, { signal });
  element.addEventListener("pointerup", onPointer, { signal });
  element.addEventListener("pointerdown", onDown, { signal });
  element.addEventListener("pointercancel", release, { signal });
  window.addEventListener("blur", release, { signal });
  element.addEventListener("contextmenu", (event) => event.preventDefault(), { signal });
  element.addEventListener("wheel", onWheel, { signal, passive: false });
  return () => {
    listeners.abort();
    release();
  };
}
