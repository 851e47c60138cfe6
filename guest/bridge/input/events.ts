/** Viewers' input as events of the kernel (linux/input-event-codes.h; struct input_event of linux/input.h). */
import type { KeyInput, PointerInput } from "../../../viewer/server/source.ts";

export const EV = { SYN: 0, KEY: 1, REL: 2, ABS: 3 } as const;
export const REL = { HWHEEL: 0x06, WHEEL: 0x08, WHEEL_HI_RES: 0x0b, HWHEEL_HI_RES: 0x0c } as const;
export const ABS = { X: 0, Y: 1 } as const;
/** The buttons of MouseEvent.buttons, by bit: left, right, middle, back (BTN_SIDE), forward (BTN_EXTRA). */
export const BUTTONS: readonly number[] = [0x110, 0x111, 0x112, 0x113, 0x114];

/** KEY_ESC. */
const FIRST_KEY = 1;
/** KEY_MICMUTE, the last below the buttons of mice and gamepads. */
const LAST_KEY = 248;
/** KEY_SYSRQ, which acts on the kernel. */
const SYSRQ = 99;

/** All keys of the keyboard. */
export const KEYS: readonly number[] = Array.from(
  { length: LAST_KEY - FIRST_KEY + 1 },
  (_, index) => FIRST_KEY + index,
).filter((code) => code !== SYSRQ);

/** A wheel's notch, in the unit of REL_WHEEL_HI_RES and of the protocol. */
const NOTCH = 120;

export interface InputEvent {
  readonly type: number;
  readonly code: number;
  readonly value: number;
}

const REPORT: InputEvent = { type: EV.SYN, code: 0, value: 0 };

/** Turns a viewer's pointer states into the kernel's events, which are changes. */
export class PointerEvents {
  #buttons = 0;
  /** Rotation below a notch, for programs that support only whole ones. */
  #rest = { x: 0, y: 0 };

  /** The events, including the final report. */
  next({ x, y, buttons, wheelX, wheelY }: PointerInput): InputEvent[] {
    const changed = buttons ^ this.#buttons;
    this.#buttons = buttons;
    const presses = BUTTONS.flatMap((code, bit) =>
      (changed >> bit) & 1 ? [{ type: EV.KEY, code, value: (buttons >> bit) & 1 }] : [],
    );
    return [
      { type: EV.ABS, code: ABS.X, value: x },
      { type: EV.ABS, code: ABS.Y, value: y },
      ...presses,
      // Down is positive in browsers and negative here; right is positive in both.
      ...this.#wheel("y", -wheelY, REL.WHEEL_HI_RES, REL.WHEEL),
      ...this.#wheel("x", wheelX, REL.HWHEEL_HI_RES, REL.HWHEEL),
      REPORT,
    ];
  }

  #wheel(axis: "x" | "y", turned: number, fine: number, coarse: number): InputEvent[] {
    if (turned === 0) return [];
    const sum = this.#rest[axis] + turned;
    const notches = Math.trunc(sum / NOTCH);
    this.#rest[axis] = sum - notches * NOTCH;
    const events: InputEvent[] = [{ type: EV.REL, code: fine, value: turned }];
    if (notches !== 0) events.push({ type: EV.REL, code: coarse, value: notches });
    return events;
  }
}

const KNOWN_KEYS = new Set(KEYS);

/** Empty for a key that the keyboard does not have. */
export function keyEvents({ code, pressed }: KeyInput): InputEvent[] {
  return KNOWN_KEYS.has(code) ? [{ type: EV.KEY, code, value: pressed ? 1 : 0 }, REPORT] : [];
}

/** struct input_event of a 64-bit little-endian machine: a time, which the kernel sets, type, code, value. */
const EVENT_BYTES = 24;
const TYPE_OFFSET = 16;

export function encodeEvents(events: readonly InputEvent[]): Buffer {
  const bytes = Buffer.alloc(events.length * EVENT_BYTES);
  for (const [index, { type, code, value }] of events.entries()) {
    const at = index * EVENT_BYTES + TYPE_OFFSET;
    bytes.writeUInt16LE(type, at);
    bytes.writeUInt16LE(code, at + 2);
    bytes.writeInt32LE(value, at + 4);
  }
  return bytes;
}
