/** The guest's serial console, followed while it grows; detects kernel panics. */
import { closeSync, openSync, readSync, writeFileSync } from "node:fs";
import { GuestPanicError, tail } from "./errors.ts";

const POLL_MS = 200;
const KEPT = 512 * 1024;
const PANIC = "Kernel panic - not syncing";

export class SerialLog {
  readonly path: string;
  readonly #file: number;
  readonly #onText: (text: string) => void;
  readonly #onPanic: (error: GuestPanicError) => void;
  readonly #polling: NodeJS.Timeout;
  readonly #buffer = Buffer.allocUnsafe(64 * 1024);
  #text = "";
  #read = 0;
  #panicked = false;
  #closed = false;

  /** Creates the file, for QEMU to write to. */
  constructor(path: string, onText: (text: string) => void, onPanic: (error: GuestPanicError) => void) {
    this.path = path;
    this.#onText = onText;
    this.#onPanic = onPanic;
    writeFileSync(path, "");
    this.#file = openSync(path, "r");
    this.#polling = setInterval(() => this.#poll(), POLL_MS);
  }

  /** The last 512 KiB; also after close(). */
  get text(): string {
    this.#poll();
    return this.#text;
  }

  close(): void {
    if (this.#closed) return;
    this.#poll();
    this.#closed = true;
    clearInterval(this.#polling);
    closeSync(this.#file);
  }

  #poll(): void {
    while (!this.#closed) {
      const count = readSync(this.#file, this.#buffer, 0, this.#buffer.length, this.#read);
      if (count === 0) break;
      this.#read += count;
      const text = this.#buffer.toString("utf8", 0, count).replaceAll("\r", "");
      this.#text = (this.#text + text).slice(-KEPT);
      this.#onText(text);
    }
    if (!this.#panicked && this.#text.includes(PANIC)) {
      this.#panicked = true;
      this.#onPanic(new GuestPanicError("The guest's kernel panicked:", tail(this.#text, 60)));
    }
  }
}
