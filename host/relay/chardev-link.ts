/**
 * The relay's end of a QEMU chardev: a UNIX socket on which QEMU listens (`-chardev socket,server=on,wait=off`)
 * and which carries one virtserialport.
 *
 * QEMU may start after the relay, or be restarted; the link connects again, with back-off, for as long as it is
 * open. QEMU accepts one client at a time; a second one waits unanswered in the socket's backlog.
 */
import { connect, type Socket } from "node:net";
import type { Logger } from "pino";

const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 1000;

export interface LinkEvents {
  onConnect(): void;
  /** Bytes as they arrive; valid until the callback returns. */
  onData(chunk: Buffer): void;
  onDisconnect(): void;
}

/** What a session needs of the stream below it. */
export interface ByteSink {
  /** Writes all pieces in order, without copying them; they must not change afterwards. */
  write(pieces: readonly Uint8Array[]): void;
  /** Bytes written that the peer's socket has not taken yet. */
  readonly unsentBytes: number;
}

export class ChardevLink implements ByteSink {
  readonly path: string;
  readonly #events: LinkEvents;
  readonly #log: Logger;
  #socket: Socket | undefined;
  #retryMs = FIRST_RETRY_MS;
  #retryTimer: NodeJS.Timeout | undefined;
  #connected = false;
  #closed = false;
  #reported: string | undefined;

  constructor(path: string, events: LinkEvents, log: Logger) {
    this.path = path;
    this.#events = events;
    this.#log = log;
  }

  open(): void {
    this.#connect();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retryTimer);
    this.#socket?.end();
    this.#socket?.unref();
  }

  get unsentBytes(): number {
    return this.#socket?.writableLength ?? 0;
  }

  write(pieces: readonly Uint8Array[]): void {
    const socket = this.#socket;
    if (!this.#connected || socket === undefined) return;
    socket.cork();
    for (const piece of pieces) socket.write(piece);
    socket.uncork();
  }

  #connect(): void {
    const socket = connect({ path: this.path });
    this.#socket = socket;
    socket.on("connect", () => {
      this.#connected = true;
      this.#retryMs = FIRST_RETRY_MS;
      this.#reported = undefined;
      this.#log.info({ path: this.path }, "connected to QEMU's chardev");
      this.#events.onConnect();
    });
    socket.on("data", (chunk: Buffer) => this.#events.onData(chunk));
    socket.on("error", (error: NodeJS.ErrnoException) => this.#report(error));
    socket.on("close", () => {
      if (this.#connected) {
        this.#connected = false;
        this.#log.info({ path: this.path }, "QEMU's chardev has gone; trying again");
        this.#events.onDisconnect();
      }
      if (this.#closed) return;
      this.#retryTimer = setTimeout(() => this.#connect(), this.#retryMs);
      this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
    });
  }

  /** Says once, not at every attempt, why there is no connection. */
  #report(error: NodeJS.ErrnoException): void {
    if (this.#reported === error.code) return;
    this.#reported = error.code;
    const hint =
      error.code === "ENOENT" || error.code === "ECONNREFUSED"
        ? "no QEMU listens there yet: start the VM with the arguments of `vsockenc qemu-args`"
        : error.code === "EACCES"
          ? "run the relay as the user that runs QEMU, or give it access to the socket"
          : "trying again";
    this.#log.warn({ path: this.path, code: error.code }, `cannot connect to the chardev: ${hint}`);
  }
}
