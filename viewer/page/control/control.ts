/** Sends pointer and keyboard to the guest, once the user switches control on. */
import type { OutgoingViewerMessage } from "../../../proto/viewer-messages.ts";
import { sendKeys } from "./keyboard.ts";
import { sendPointer } from "./pointer.ts";

export interface ControlLine {
  send(message: OutgoingViewerMessage): void;
  readonly hasRoom: boolean;
}

/** The Keyboard Lock API, as far as it is used here; not every browser has it. */
type LockingNavigator = Navigator & { readonly keyboard?: { lock(): Promise<void>; unlock(): void } };

export class Control {
  readonly #line: ControlLine;
  readonly #onRelease: () => void;
  #active: { readonly element: HTMLElement; readonly ends: readonly (() => void)[] } | undefined;

  constructor(line: ControlLine, onRelease: () => void) {
    this.#line = line;
    this.#onRelease = onRelease;
  }

  get on(): boolean {
    return this.#active !== undefined;
  }

  /** Starts to send input on the picture, and gives it the focus. */
  start(element: HTMLElement): void {
    this.stop();
    element.tabIndex = 0;
    element.setAttribute("aria-label", "The guest's screen. Press Ctrl+Alt+Shift to release the keyboard.");
    element.setAttribute("role", "application");
    element.dataset["controlled"] = "yes";
    const endKeys = sendKeys(element, {
      onKey: (code, pressed) => this.#line.send({ type: "key", body: { code, pressed } }),
      onRelease: this.#onRelease,
    });
    const endPointer = sendPointer(element, (body, disposable) => {
      if (!disposable || this.#line.hasRoom) this.#line.send({ type: "pointer", body });
    });
    this.#active = { element, ends: [endKeys, endPointer] };
    document.addEventListener("fullscreenchange", this.#lockKeyboard);
    this.#lockKeyboard();
    element.focus({ preventScroll: true });
  }

  /** In full screen, Escape, Ctrl+W and the like go to the guest, too; holding Escape leaves full screen. */
  readonly #lockKeyboard = (): void => {
    const { keyboard } = navigator as LockingNavigator;
    if (this.on && document.fullscreenElement !== null) keyboard?.lock().catch(() => undefined);
    else keyboard?.unlock();
  };

  /** Releases every pressed key and button. */
  stop(): void {
    if (this.#active === undefined) return;
    const { element, ends } = this.#active;
    this.#active = undefined;
    document.removeEventListener("fullscreenchange", this.#lockKeyboard);
    this.#lockKeyboard();
    for (const end of ends) end();
    for (const name of ["tabindex", "aria-label", "role", "data-controlled"]) element.removeAttribute(name);
  }
}
