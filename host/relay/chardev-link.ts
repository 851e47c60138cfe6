/**
 * The relay's end of a QEMU chardev: a UNIX socket on which QEMU listens (`-chardev socket,server=on,wait=off`)
 * and which carries one virtserialport.
 *
 * QEMU may start after the relay, or be restarted; the link connects again, with back-off, for as long as it is
 * open. QEMU accepts one client at a time; a second one waits unanswered in the socket's backlog.
 */
import { connect, type Socket } from "node:net";
import type { Logger } from "pino";
import type { ByteSink, Link } from "./link.ts";
import type { SessionServer } from "./session.ts";

const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 1000;

export class ChardevLink implements ByteSink, Link {
  readonly name: string;
  readonly #server: SessionServer;
  readonly #log: Logger;
  #socket: Socket | undefined;
  #retryMs = FIRST_RETRY_MS;
  #retryTimer: NodeJS.Timeout | undefined;
  #connected = false;
  #closed = false;
  #reported: string | undefined;

  constructor(path: string, server: SessionServer, log: Logger) {
    this.name = path;
    this.#server = server;
    server.attach(this);
    this.#log = log;
  }

  open(): void {
    this.#connect();
  }

  /** Says goodbye to the guest, if there is one, and connects no more. */
  close(): void {
    this.#closed = true;
    this.#server.close();
    clearTimeout(this.#retryTimer);
    this.#socket?.end();
    this.#socket?.unref();
  }

  get connections(): number {
    return this.#connected ? 1 : 0;
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
    const socket = connect({ path: this.name });
    this.#socket = socket;
    socket.on("connect", () => {
      this.#connected = true;
      this.#retryMs = FIRST_RETRY_MS;
      this.#reported = undefined;
      this.#log.info({ path: this.name }, "connected to QEMU's chardev");
      this.#server.onConnect();
    });
    socket.on("data", (chunk: Buffer) => this.#server.onData(chunk));
    socket.on("error", (error: NodeJS.ErrnoException) => this.#report(error));
    socket.on("close", () => {
      if (this.#connected) {
        this.#connected = false;
        this.#log.info({ path: this.name }, "QEMU's chardev has gone; trying again");
        this.#server.onDisconnect();
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
    this.#log.warn({ path: this.name, code: error.code }, `cannot connect to the chardev: ${hint}`);
  }
}
