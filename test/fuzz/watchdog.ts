/** Keeps an input of a fuzzer that runs for too long, and ends the process, which could not do anything else. */
import { Worker } from "node:worker_threads";

export class Watchdog {
  readonly #state: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #thread: Worker;

  /** @param file for the input, of which `maxBytes` are kept */
  constructor(file: string, maxBytes: number, hangSeconds: number) {
    const shared = new SharedArrayBuffer(12 + maxBytes);
    this.#state = new Int32Array(shared, 0, 3);
    this.#bytes = new Uint8Array(shared, 12);
    this.#thread = new Worker(new URL("watchdog.mjs", import.meta.url), {
      workerData: { shared, file, hangSeconds },
      execArgv: [],
    });
    this.#thread.unref();
  }

  begins(input: Uint8Array): void {
    const kept = input.subarray(0, this.#bytes.length);
    this.#bytes.set(kept);
    this.#state[1] = kept.length;
    Atomics.add(this.#state, 0, 1);
  }

  ends(): void {
    Atomics.add(this.#state, 0, 1);
  }

  async close(): Promise<void> {
    await this.#thread.terminate();
  }
}
