/** Sends keys to the guest while the picture has the focus, until Ctrl+Alt+Shift is pressed. */
import { KEY_CODES } from "./key-codes.ts";

export interface KeyboardEvents {
  onKey(code: number, pressed: boolean): void;
  /** Ctrl, Alt and Shift are pressed together. */
  onRelease(): void;
}

/** Sends the keys that are typed on an element, until closed. */
export class Keyboard {
  readonly #element: HTMLElement;
  readonly #events: KeyboardEvents;
  /** The keys that the guest has as pressed. */
  readonly #pressed = new Set<number>();
  readonly #listeners = new AbortController();

  constructor(element: HTMLElement, events: KeyboardEvents) {
    this.#element = element;
    this.#events = events;
    const { signal } = this.#listeners;
    element.addEventListener("keydown", (event) => this.#onKey(event, true), { signal });
    element.addEventListener("keyup", (event) => this.#onKey(event, false), { signal });
    // Keys that are released elsewhere are not reported here.
    element.addEventListener("blur", () => this.#releaseAll(), { signal });
    window.addEventListener("blur", () => this.#releaseAll(), { signal });
    document.addEventListener("visibilitychange", () => document.hidden && this.#releaseAll(), { signal });
  }

  close(): void {
    this.#listeners.abort();
    this.#releaseAll();
  }

  #onKey(event: KeyboardEvent, pressed: boolean): void {
    if (event.target !== this.#element) return;
    const code = KEY_CODES.get(event.code);
    if (code === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    // The guest makes its own key repeats.
    if (event.repeat) return;
    this.#set(code, pressed);
    // macOS does not report keys that are released while Command is held.
    if (!pressed && event.key === "Meta") this.#releaseAll();
    if (pressed && event.ctrlKey && event.altKey && event.shiftKey) this.#events.onRelease();
  }

  #set(code: number, pressed: boolean): void {
    if (this.#pressed.has(code) === pressed) return;
    if (pressed) this.#pressed.add(code);
    else this.#pressed.delete(code);
    this.#events.onKey(code, pressed);
  }

  #releaseAll(): void {
    for (const code of [...this.#pressed]) this.#set(code, false);
  }
}
