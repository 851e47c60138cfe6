/**
 * Callbacks for descriptors that become ready, from one poll(2) thread.
 *
 * A watch reports once and must then be armed again (see os/poller.cc), so a busy descriptor cannot flood the event loop.
 * Open watches keep the process alive.
 */
import { os } from "./os-addon.ts";

export interface Readiness {
  /** Bytes, a connection or the end can be read; also set on errors and hang-ups. */
  readonly readable: boolean;
  readonly writable: boolean;
}

/** What has become ready. */
export interface Report extends Readiness {
  /** The other end of a connection has closed. */
  readonly hangup: boolean;
}

type Listener = (ready: Report) => void;

const listeners = new Map<number, Listener>();
let nextId = 1;

/** Called with an exception of a listener, which must not reach other listeners. */
let reportError: (error: unknown) => void = (error) => {
  queueMicrotask(() => {
    throw error;
  });
};

/** Sets the handler for exceptions of listeners. By default they end the process like any other. */
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
        hangup: (events & os.pollHangup) !== 0,
      });
    } catch (error) {
      reportError(error);
    }
  }
}

/** Watches one descriptor; the caller keeps the ownership. */
export class Watch {
  readonly #id: number;
  readonly #fd: number;

  constructor(fd: number, listener: Listener) {
    if (nextId === 1) os.startPoller(dispatch);
    this.#id = nextId++;
    this.#fd = fd;
    listeners.set(this.#id, listener);
  }

  /** Requests one report. A new request replaces the one before. */
  arm(wanted: Readiness): void {
    if (!listeners.has(this.#id)) return;
    os.armWatch(
      this.#id,
      this.#fd,
      (wanted.readable ? os.pollRead : 0) | (wanted.writable ? os.pollWrite : 0),
    );
  }

  /** Ends the reports. Close the descriptor only after this. */
  close(): void {
    if (listeners.delete(this.#id)) os.removeWatch(this.#id);
  }
}
