/** One peer of a link, from its connection to its end, with the server of its sessions. */
import type { Logger } from "pino";
import { HXFR_MAGIC } from "../../proto/hxfr.ts";
import { FdConnection, type LinkServer } from "./connection.ts";
import { MAX_HXFR_UNSENT_BYTES } from "./hxfr-session.ts";
import type { Peer, ServedPeer } from "./vm-host.ts";

/** The first bytes of a client of Helix's protocol. */
const HELIX_MAGIC = Buffer.alloc(4);
HELIX_MAGIC.writeUInt32LE(HXFR_MAGIC);

/** Maximum time without a session, of a peer that is no chardev. A chardev stays connected as long as its VM runs. */
export const IDLE_MS = 10_000;
/** Interval of the check. */
const SWEEP_MS = 1000;

export class SessionPeer implements ServedPeer {
  readonly #connection: FdConnection;
  readonly #server: LinkServer;
  readonly #log: Logger;
  /** For the log. */
  readonly #what: string;
  readonly #onGone: () => void;
  #sweep: NodeJS.Timeout | undefined;
  /** Its first bytes, until they are enough to tell Helix's protocol; undefined: no check is left. */
  #first: Buffer | undefined;
  #lastOpenMs = performance.now();

  constructor(fd: number, { link, name }: Peer, server: LinkServer, log: Logger, onGone: () => void) {
    const isHxfr = link.kind === "listen" && link.protocol === "hxfr";
    this.#connection = new FdConnection(fd, name, isHxfr ? MAX_HXFR_UNSENT_BYTES : undefined);
    this.#server = server;
    this.#log = log;
    this.#onGone = onGone;
    if (!isHxfr) this.#first = Buffer.alloc(0);
    server.attach(this.#connection);
    this.#connection.start({
      onData: (chunk) => this.#receive(chunk),
      onDrain: () => server.onDrain?.(),
      onClose: () => this.#gone(),
    });
    this.#what = link.kind === "listen" ? "client" : "chardev";
    log.info(`${this.#what} connected`);
    if (link.kind === "listen") this.#sweep = setInterval(() => this.#closeIdle(), SWEEP_MS);
    server.onConnect();
  }

  /** Whether the peer has a session. */
  get isOpen(): boolean {
    return this.#server.isOpen;
  }

  close(): void {
    this.#server.close();
    this.#connection.close();
  }

  #receive(chunk: Buffer): void {
    if (this.#first === undefined || !this.#isForeign(this.#first, chunk)) {
      this.#server.onData(chunk);
      return;
    }
    this.#log.error(
      'rejected a client of Helix\'s protocol (HXFR); use our element vsockenc, or a [[listen]] with protocol = "hxfr"',
    );
    this.#connection.close();
  }

  /** Whether the first bytes are those of Helix's protocol. */
  #isForeign(before: Buffer, chunk: Buffer): boolean {
    const first = Buffer.concat([before, chunk.subarray(0, HELIX_MAGIC.length - before.length)]);
    this.#first = first.length < HELIX_MAGIC.length ? first : undefined;
    return first.equals(HELIX_MAGIC);
  }

  #gone(): void {
    clearInterval(this.#sweep);
    this.#sweep = undefined;
    this.#log.info(`${this.#what} disconnected`);
    this.#server.onDisconnect();
    // A peer may be gone before its constructor returns.
    queueMicrotask(this.#onGone);
  }

  #closeIdle(): void {
    const now = performance.now();
    if (this.#server.isOpen) this.#lastOpenMs = now;
    else if (now - this.#lastOpenMs >= IDLE_MS) {
      this.#log.info(`closed a client without a session for ${IDLE_MS / 1000} s`);
      this.#connection.close();
    }
  }
}
