/**
 * One peer of a link, from its connection to its end, and the server of its sessions.
 *
 * Everything that happens to a peer enters its server here: bytes (in turns, common/turns.ts), drains, ticks, the end. So this is
 * also where an exception of the server stops: it ends the session of this peer, and nothing else.
 */
import type { Logger } from "pino";
import type { Turns, TurnTaker } from "../../common/turns.ts";
import { ByteQueue } from "../../proto/byte-queue.ts";
import { HXFR_MAGIC } from "../../proto/hxfr.ts";
import { LIMITS } from "../../proto/limits.ts";
import type { Connection, LinkServer, ServedLink } from "./connection.ts";
import { internalError } from "./errors.ts";
import { turns } from "./turns.ts";
import type { ServedPeer } from "./vm-host.ts";

/** The first bytes of a client of Helix's protocol. */
const HELIX_MAGIC = Buffer.alloc(4);
HELIX_MAGIC.writeUInt32LE(HXFR_MAGIC);

/** Maximum time of a client without a session. */
export const IDLE_MS = 10_000;

/** Unprocessed bytes beyond which a peer is not read; one reception may exceed it. */
export const MAX_PENDING_BYTES = 65536;

export interface SessionPeerOptions {
  readonly connection: Connection;
  readonly server: LinkServer;
  /** A chardev stays connected as long as its VM runs; a client without a session is closed after a while. */
  readonly kind: "client" | "chardev";
  /** Reject a client of Helix's protocol, which `server` does not speak. */
  readonly rejectHelix: boolean;
  readonly onGone: () => void;
  readonly log: Logger;
  /** Default: those of this thread. */
  readonly turns?: Turns;
}

export class SessionPeer implements ServedPeer, ServedLink, TurnTaker {
  readonly #options: SessionPeerOptions;
  readonly #connection: Connection;
  readonly #server: LinkServer;
  readonly #turns: Turns;
  readonly #input = new ByteQueue();
  /** Its first bytes, until they are enough to tell Helix's protocol; undefined: no check is left. */
  #first: Buffer | undefined;
  #tick: NodeJS.Timeout | undefined;
  #lastOpenMs = performance.now();
  #stepping = false;
  #reading = true;
  #gone = false;

  constructor(options: SessionPeerOptions) {
    this.#options = options;
    this.#connection = options.connection;
    this.#server = options.server;
    this.#turns = options.turns ?? turns;
    if (options.rejectHelix) this.#first = Buffer.alloc(0);
  }

  /** Starts to serve; to be called once. The peer may be gone when this returns. */
  open(): void {
    this.#tick = setInterval(() => this.#onTick(), LIMITS.PING_INTERVAL_MS / 2);
    this.#connection.start({
      onData: (chunk) => this.#onData(chunk),
      onDrain: () => this.#enter(() => this.#server.onDrain?.()),
      onClose: () => this.#onClose(),
    });
    this.#options.log.info(`${this.#options.kind} connected`);
    this.#enter(() => this.#server.onConnect(this));
  }

  /** Whether the peer has a session. */
  get isOpen(): boolean {
    return this.#server.isOpen;
  }

  close(): void {
    this.#enter(() => this.#server.close());
    this.#connection.close();
  }

  disconnect(): void {
    this.#connection.close();
  }

  /**
   * Stops reading, so that what arrives stays in the connection for another process.
   *
   * @returns false, with nothing done, if bytes that were read wait for their turn
   */
  suspend(): boolean {
    if (this.#reading) this.#connection.setReading(false);
    return this.#reading;
  }

  /** Ends `suspend`. */
  continue(): void {
    this.#connection.setReading(this.#reading);
  }

  get unsentBytes(): number {
    return this.#connection.unsentBytes;
  }

  write(pieces: readonly Uint8Array[]): void {
    this.#server.meter?.bytesSent(pieces.reduce((sum, { length }) => sum + length, 0));
    this.#connection.write(pieces);
  }

  resume(): void {
    if (!this.#stepping) this.#turns.run(this);
  }

  fail(error: unknown): void {
    this.#options.log.error({ err: error }, "internal error in a session; please report it");
    try {
      this.#server.fail(internalError(error));
    } catch {
      this.#connection.close();
    }
  }

  step(): boolean {
    if (this.#gone) return false;
    this.#stepping = true;
    try {
      return this.#server.step(this.#input);
    } catch (error) {
      // What caused it must not be processed again.
      this.#input.clear();
      this.fail(error);
      return false;
    } finally {
      this.#stepping = false;
    }
  }

  afterTurn(waits: boolean): void {
    const on = !waits && this.#input.length < MAX_PENDING_BYTES;
    if (this.#gone || this.#reading === on) return;
    this.#reading = on;
    this.#connection.setReading(on);
  }

  #enter(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.fail(error);
    }
  }

  #onData(chunk: Buffer): void {
    this.#server.meter?.bytesReceived(chunk.length);
    if (this.#first !== undefined && this.#isHelix(this.#first, chunk)) {
      this.#options.log.error(
        'rejected a client of Helix\'s protocol (HXFR); use our element vsockenc, or a [[listen]] with protocol = "hxfr"',
      );
      this.#connection.close();
      return;
    }
    this.#input.add(chunk);
    this.resume();
    this.#input.keep();
  }

  #isHelix(before: Buffer, chunk: Buffer): boolean {
    const first = Buffer.concat([before, chunk.subarray(0, HELIX_MAGIC.length - before.length)]);
    this.#first = first.length < HELIX_MAGIC.length ? first : undefined;
    return first.equals(HELIX_MAGIC);
  }

  #onTick(): void {
    this.#enter(() => this.#server.onTick?.());
    const now = performance.now();
    if (this.#server.isOpen) this.#lastOpenMs = now;
    else if (this.#options.kind === "client" && now - this.#lastOpenMs >= IDLE_MS) {
      this.#options.log.info(`closed a client without a session for ${IDLE_MS / 1000} s`);
      this.#connection.close();
    }
  }

  #onClose(): void {
    this.#gone = true;
    clearInterval(this.#tick);
    this.#input.clear();
    this.#options.log.info(`${this.#options.kind} disconnected`);
    this.#enter(() => this.#server.onDisconnect());
    this.#options.onGone();
  }
}
