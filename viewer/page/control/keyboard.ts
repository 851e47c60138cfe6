/** Sends keys to the guest while the picture has the focus, until Ctrl+Alt+Shift is pressed. */
import { KEY_CODES } from "./key-codes.ts";

export interface KeyboardEvents {
  onKey(code: number, pressed: boolean): void;
  /** Ctrl, Alt and Shift are pressed together. */
  onRelease(): void;
}

/**
 * Sends the keys that are typed on an element.
 *
 * @returns a function that ends it, and releases the pressed keys
 */
export function sendKeys(element: HTMLElement, events: KeyboardEvents): () => void {
  /** The keys that the guest has as pressed. */
  const down = new Set<number>();
  const listeners = new AbortController();
  const { signal } = listeners;

  const set = (code: number, pressed: boolean): void => {
    if (down.has(code) === pressed) return;
    if (pressed) down.add(code);
    else down.delete(code);
    events.onKey(code, pressed);
  };
  const releaseAll = (): void => {
    for (const code of [...down]) set(code, false);
  };
  const onKey = (event: KeyboardEvent): void => {
    const code = KEY_CODES.get(event.code);
    if (event.target !== element || code === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    // The guest makes its own key repeats.
    if (event.repeat) return;
    const pressed = event.type === "keydown";
    set(code, pressed);
    // macOS does not report keys that are released while Command is held.
    if (!pressed && event.key === "Meta") releaseAll();
    if (pressed && event.ctrlKey && event.altKey && event.shiftKey) events.onRelease();
  };
  element.addEventListener("keydown", onKey, { signal });
  element.addEventListener("keyup", onKey, { signal });
  // Keys that are released elsewhere are not reported here.
  element.addEventListener("blur", releaseAll, { signal });
  window.addEventListener("blur", releaseAll, { signal });
  document.addEventListener("visibilitychange", () => document.hidden && releaseAll(), { signal });
  return () => {
    listeners.abort();
    releaseAll();
  };
}
