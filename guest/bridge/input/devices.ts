/**
 * Pointer and keyboard of the viewers as input devices of this machine, by uinput.
 *
 * They work with every desktop. The pointer is absolute, like a tablet's, and covers all screens together, so its
 * position is wrong if the machine has more screens than the captured one.
 */
import { closeSync, constants, openSync, writeSync } from "node:fs";
import type { Logger } from "pino";
import type { KeyInput, PointerInput, ViewerSource } from "../../../viewer/server/source.ts";
import { createInputDevice, type InputDeviceSetup } from "../gst.ts";
import {
  ABS,
  BUTTONS,
  encodeEvents,
  type InputEvent,
  KEYS,
  keyEvents,
  PointerEvents,
  REL,
} from "./events.ts";

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
    createInputDevice(descriptor, setup);
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
