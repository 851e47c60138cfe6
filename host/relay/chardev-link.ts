/**
 * The relay's end of a QEMU chardev: a UNIX socket on which QEMU listens (`-chardev socket,server=on,wait=off`)
 * and which carries one virtserialport.
 *
 * QEMU may start after the relay, or be restarted; the link reconnects, with back-off, for as long as it is open.
 * QEMU accepts one client at a time; a second one waits unanswered in the socket's backlog.
 */
import type { Logger } from "pino";
import { isSystemError, os } from "../native/os-addon.ts";
import type { Link } from "./connection.ts";
import type { ServedPeer, VmHost } from "./vm-host.ts";

const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 1000;

export class ChardevLink implements Link {
  readonly name: string;
  readonly #index: number;
  readonly #host: VmHost;
  readonly #log: Logger;
  #peer: ServedPeer | undefined;
  #retryMs = FIRST_RETRY_MS;
  #retryTimer: NodeJS.Timeout | undefined;
  #closed = false;
  #reported: string | undefined;

  /** @param index of the port in its VM */
  constructor(path: string, index: number, host: VmHost, log: Logger) {
    this.name = path;
    this.#index = index;
    this.#host = host;
    this.#log = log;
  }

  open(): void {
    let fd: number;
    try {
      fd = os.connect(this.name);
    } catch (error) {
      this.#report(error);
      this.#retry();
      return;
    }
    this.#retryMs = FIRST_RETRY_MS;
    this.#reported = undefined;
    this.#log.info({ path: this.name }, "connected to QEMU's chardev");
    const peer = { link: { kind: "port", index: this.#index }, name: "QEMU" } as const;
    this.#peer = this.#host.serve(fd, peer, () => {
      this.#peer = undefined;
      if (this.#closed) return;
      this.#log.info({ path: this.name }, "disconnected from QEMU's chardev; reconnecting");
      this.#retry();
    });
  }

  /** Says goodbye to the guest, if one is there, and stops reconnecting. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#retryTimer);
    this.#peer?.close();
  }

  get connections(): number {
    return this.#peer === undefined ? 0 : 1;
  }

  #retry(): void {
    this.#retryTimer = setTimeout(() => this.open(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
  }

  /** Logs the reason for a failed connection once, not at every attempt. */
  #report(error: unknown): void {
    const hint =
      isSystemError(error, "ENOENT") || isSystemError(error, "ECONNREFUSED")
        ? "QEMU does not listen there yet; start the VM with the arguments of `vsockenc qemu-args`"
        : isSystemError(error, "EACCES")
          ? "run the relay as the user that runs QEMU, or give it access to the socket"
          : isSystemError(error, "EAGAIN")
            ? "another program is connected; end it"
            : "retrying";
    if (this.#reported === hint) return;
    this.#reported = hint;
    this.#log.warn({ path: this.name, err: error }, `cannot connect to the chardev: ${hint}`);
  }
}
