/**
 * Callbacks for descriptors that become ready, from one poll(2) thread.
 *
 * A watch reports once and is then silent until it is armed anew (see os/poller.h), so a busy descriptor cannot
 * flood the event loop. Open watches keep the process alive.
 */
import { os } from "./os-addon.ts";

export interface Readiness {
  /** Bytes, a connection, or the end are there to be read; also set on errors and hang-ups. */
  readonly readable: boolean;
  readonly writable: boolean;
}

type Listener = (ready: Readiness) => void;

const listeners = new Map<number, Listener>();
let nextId = 1;

/** Called with what a listener threw; nothing thrown in one listener may reach another. */
let reportError: (error: unknown) => void = (error) => {
  queueMicrotask(() => {
    throw error;
  });
};

/** Says where exceptions of listeners go. Unless this is called they end the process like any other. */
export function onWatchError(report: (error: unknown) => void): void {
  reportError = report;
}

function dispatch(reports: readonly number[]): void {
  for (let i = 0; i + 1 < reports.length; i += 2) {
    const events = reports[i + 1] ?? 0;
    try {
      listeners.get(reports[i] ?? 0)?.({
        readable: (events & ~os.pollWrite) !== 0,
        writable: (events & os.pollWrite) !== 0,
      });
    } catch (error) {
      reportError(error);
    }
  }
}

/** One descriptor being watched; the descriptor stays the caller's. */
export class Watch {
  readonly #id: number;
  readonly #fd: number;

  constructor(fd: number, listener: Listener) {
    if (nextId === 1) os.startPoller(dispatch);
    this.#id = nextId++;
    this.#fd = fd;
    listeners.set(this.#id, listener);
  }

  /** Asks for one report. A new wish replaces the one before. */
  arm(wish: Readiness): void {
    if (!listeners.has(this.#id)) return;
    os.armWatch(this.#id, this.#fd, (wish.readable ? os.pollRead : 0) | (wish.writable ? os.pollWrite : 0));
  }

  /** No report follows. Close the descriptor only after this. */
  close(): void {
    if (listeners.delete(this.#id)) os.removeWatch(this.#id);
  }
}
