/** Hands keys to the guest while the picture has the focus, and gives the keyboard back on Ctrl+Alt+Shift. */
import { KEY_CODES } from "./key-codes.ts";

export interface KeyboardEvents {
  onKey(code: number, pressed: boolean): void;
  /** The person pressed Ctrl, Alt and Shift together. */
  onRelease(): void;
}

/** Sends what is typed on an element, until closed. */
export class Keyboard {
  readonly #element: HTMLElement;
  readonly #events: KeyboardEvents;
  /** What the guest holds to be pressed. */
  readonly #pressed = new Set<number>();
  readonly #listeners = new AbortController();

  constructor(element: HTMLElement, events: KeyboardEvents) {
    this.#element = element;
    this.#events = events;
    const { signal } = this.#listeners;
    element.addEventListener("keydown", (event) => this.#onKey(event, true), { signal });
    element.addEventListener("keyup", (event) => this.#onKey(event, false), { signal });
    // Nobody tells of keys that are let go elsewhere.
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
    const code = KEY_CODES[event.code];
    if (code === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    // The guest repeats keys by itself.
    if (event.repeat) return;
    this.#set(code, pressed);
    // macOS does not tell of keys that are let go while Command is held.
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
