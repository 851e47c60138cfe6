/**
 * The relay's end of a QEMU chardev: a UNIX socket on which QEMU listens (`-chardev socket,server=on,wait=off`)
 * and which carries one virtserialport.
 *
 * QEMU may start after the relay, or be restarted; the link reconnects, with back-off, for as long as it is open.
 * QEMU accepts one client at a time; a second one waits unanswered in the socket's backlog.
 */
import { connect } from "node:net";
import type { Logger } from "pino";
import { type Link, NetConnection } from "./connection.ts";
import type { SessionServer } from "./session.ts";

const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 1000;

export class ChardevLink implements Link {
  readonly name: string;
  readonly #server: SessionServer;
  readonly #log: Logger;
  #connection: NetConnection | undefined;
  #retryMs = FIRST_RETRY_MS;
  #retryTimer: NodeJS.Timeout | undefined;
  #connected = false;
  #closed = false;
  #reported: string | undefined;

  constructor(path: string, server: SessionServer, log: Logger) {
    this.name = path;
    this.#server = server;
    this.#log = log;
  }

  open(): void {
    const socket = connect({ path: this.name });
    const connection = new NetConnection(socket);
    this.#connection = connection;
    socket.on("connect", () => {
      this.#connected = true;
      this.#retryMs = FIRST_RETRY_MS;
      this.#reported = undefined;
      this.#log.info({ path: this.name }, "connected to QEMU's chardev");
      this.#server.attach(connection);
      this.#server.onConnect();
    });
    socket.on("error", (error: NodeJS.ErrnoException) => this.#report(error));
    connection.start({
      onData: (chunk) => this.#server.onData(chunk),
      onDrain: () => undefined,
      onClose: () => this.#disconnected(),
    });
  }

  /** Says goodbye to the guest, if one is there, and stops reconnecting. */
  close(): void {
    this.#closed = true;
    this.#server.close();
    clearTimeout(this.#retryTimer);
    this.#connection?.close();
  }

  get connections(): number {
    return this.#connected ? 1 : 0;
  }

  #disconnected(): void {
    if (this.#connected) {
      this.#connected = false;
      this.#log.info({ path: this.name }, "disconnected from QEMU's chardev; reconnecting");
      this.#server.onDisconnect();
    }
    if (this.#closed) return;
    this.#retryTimer = setTimeout(() => this.open(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
  }

  /** Logs the reason for a failed connection once, not at every attempt. */
  #report(error: NodeJS.ErrnoException): void {
    if (this.#reported === error.code) return;
    this.#reported = error.code;
    const hint =
      error.code === "ENOENT" || error.code === "ECONNREFUSED"
        ? "QEMU does not listen there yet; start the VM with the arguments of `vsockenc qemu-args`"
        : error.code === "EACCES"
          ? "run the relay as the user that runs QEMU, or give it access to the socket"
          : "retrying";
    this.#log.warn({ path: this.name, code: error.code }, `cannot connect to the chardev: ${hint}`);
  }
}
