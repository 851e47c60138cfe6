/**
 * Pointer and keyboard of the viewers as input devices of this machine, by uinput. Events are the kernel's
 * (linux/input-event-codes.h; struct input_event of linux/input.h).
 *
 * They work with every desktop. The pointer is absolute, like a tablet's, and covers all screens together, so its
 * position is wrong if the machine has more screens than the captured one.
 */
import { closeSync, constants, openSync, writeSync } from "node:fs";
import type { Logger } from "pino";
import type { KeyInput, PointerInput, ViewerSource } from "../../viewer/server/source.ts";
import { type InputDeviceSetup, loadGStreamer } from "./gst.ts";

export const EV = { SYN: 0, KEY: 1, REL: 2, ABS: 3 } as const;
export const REL = { HWHEEL: 0x06, WHEEL: 0x08, WHEEL_HI_RES: 0x0b, HWHEEL_HI_RES: 0x0c } as const;
export const ABS = { X: 0, Y: 1 } as const;
/** The buttons of MouseEvent.buttons, by bit: left, right, middle, back (BTN_SIDE), forward (BTN_EXTRA). */
export const BUTTONS: readonly number[] = [0x110, 0x111, 0x112, 0x113, 0x114];

/** KEY_MICMUTE, the last below the buttons of mice and gamepads. */
const LAST_KEY = 248;
/** KEY_SYSRQ, which acts on the kernel. */
const SYSRQ = 99;

/** All keys of the keyboard, from KEY_ESC on. */
export const KEYS = Array.from({ length: LAST_KEY }, (_, index) => index + 1).filter(
  (code) => code !== SYSRQ,
);

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

/** Input devices cannot be created; the message states the remedy. */
export class InputDeviceError extends Error {
  override readonly name = "InputDeviceError";
}

/** A tablet or mouse, which has a cursor; INPUT_PROP_DIRECT is for touch screens. */
const INPUT_PROP_POINTER = 0;
const COORDINATE_MAX = 65_535;

const NONE = { relative: [], absolute: [], absoluteMaximum: 0, properties: [] };
const KEYBOARD: InputDeviceSetup = { ...NONE, name: "vsockenc keyboard", keys: KEYS };
const POINTER: InputDeviceSetup = {
  name: "vsockenc pointer",
  keys: BUTTONS,
  relative: Object.values(REL),
  absolute: Object.values(ABS),
  absoluteMaximum: COORDINATE_MAX,
  properties: [INPUT_PROP_POINTER],
};

export class InputDevices implements NonNullable<ViewerSource["input"]> {
  readonly #pointer: number;
  readonly #keyboard: number;
  readonly #log: Logger;
  readonly #events = new PointerEvents();
  #broken = false;

  private constructor(pointer: number, keyboard: number, log: Logger) {
    this.#pointer = pointer;
    this.#keyboard = keyboard;
    this.#log = log;
  }

  /**
   * @param path of the kernel's uinput device
   * @throws InputDeviceError
   */
  static open(path: string, log: Logger): InputDevices {
    const pointer = makeDevice(path, POINTER);
    try {
      return new InputDevices(pointer, makeDevice(path, KEYBOARD), log);
    } catch (error) {
      closeSync(pointer);
      throw error;
    }
  }

  pointer(event: PointerInput): void {
    this.#write(this.#pointer, this.#events.next(event));
  }

  key(event: KeyInput): void {
    this.#write(this.#keyboard, keyEvents(event));
  }

  /** Removes the devices, which releases everything. */
  close(): void {
    this.#broken = true;
    closeSync(this.#pointer);
    closeSync(this.#keyboard);
  }

  #write(descriptor: number, events: readonly InputEvent[]): void {
    if (this.#broken || events.length === 0) return;
    try {
      writeSync(descriptor, encodeEvents(events));
    } catch (error) {
      // The stream does not depend on input.
      this.#broken = true;
      this.#log.error(error, "cannot write to the input devices; restart the bridge");
    }
  }
}

function makeDevice(path: string, setup: InputDeviceSetup): number {
  const descriptor = open(path);
  try {
    loadGStreamer().createInputDevice(descriptor, setup);
    return descriptor;
  } catch (error) {
    closeSync(descriptor);
    if (!(error instanceof Error && "errno" in error)) throw error;
    throw new InputDeviceError(
      `${path} cannot create an input device (${error.message}): is input.device the kernel's uinput?`,
    );
  }
}

function open(path: string): number {
  try {
    return openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const load = "load the kernel module: modprobe uinput";
    const fixes: Readonly<Record<string, string>> = {
      ENOENT: load,
      // udev may create the node before the module is loaded.
      ENODEV: load,
      EACCES:
        "install packaging/udev/71-vsockenc-input.rules in /etc/udev/rules.d and join the group input (usermod -aG input USER)",
    };
    const fix = fixes[code ?? ""] ?? "or set input.enabled = false";
    throw new InputDeviceError(
      `input.enabled is true, and ${path} cannot be opened (${code ?? String(error)}): ${fix}`,
    );
  }
}
