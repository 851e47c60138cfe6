/**
 * One connection as bytes in and bytes out, on a descriptor: Node reports no peer credentials of a UNIX socket, has no
 * vsock, and hands no connection to another process.
 */
import type { ByteQueue } from "../../proto/byte-queue.ts";
import { LIMITS } from "../../proto/limits.ts";
import { FdSocket } from "../native/fd-socket.ts";
import { closeDescriptor } from "../native/os-addon.ts";
import type { SessionError } from "./errors.ts";
import type { StreamMetrics } from "./metrics.ts";

/** A chardev to which the relay connects, or a socket on which it listens for guests. */
export interface Link {
  /** For logs. */
  readonly name: string;
  /** Number of connected peers. */
  readonly connections: number;
  close(): void;
}

export interface ByteSink {
  /** Writes all pieces in order, without copying them; they must not change afterwards. */
  write(pieces: readonly Uint8Array[]): void;
  /** Bytes written that the peer's socket has not accepted yet. */
  readonly unsentBytes: number;
}

export interface ConnectionEvents {
  /** Valid until the callback returns. */
  onData(chunk: Buffer): void;
  /** All bytes of earlier writes are with the system, after some were not. */
  onDrain(): void;
  /** Called once, also for our own close(). */
  onClose(): void;
}

export interface Connection extends ByteSink {
  /** Identifies the peer in logs. */
  readonly peer: string;
  /** Starts receiving; to be called once, first. */
  start(events: ConnectionEvents): void;
  /** Stops receiving, and starts again; what is under way may still arrive. A peer's end may go unnoticed meanwhile. */
  setReading(on: boolean): void;
  close(): void;
}

/** A connected peer, as its server sees it. */
export interface ServedLink extends ByteSink {
  /** Has `step` called again: what it waited for has happened. */
  resume(): void;
  /** Ends the session after an error that the peer did not cause, and logs it; for work that no call waits for. */
  fail(error: unknown): void;
  disconnect(): void;
}

/** Serves the peers of a link, one after the other, in a protocol. An exception of any of its methods ends the session. */
export interface LinkServer {
  /** Whether the peer makes use of the link; one that does not for long may be disconnected. */
  readonly isOpen: boolean;
  /** Counts the bytes of the link. */
  readonly meter?: Pick<StreamMetrics, "bytesReceived" | "bytesSent"> | undefined;
  /** A peer is connected. */
  onConnect(link: ServedLink): void;
  /**
   * Processes one message, or some bytes that are none, and removes it from `input`.
   *
   * @returns false, with nothing done, if there is no whole message or the next one has to wait
   */
  step(input: ByteQueue): boolean;
  /** As of ConnectionEvents. */
  onDrain?(): void;
  /** Called twice in each PING_INTERVAL_MS. */
  onTick?(): void;
  onDisconnect(): void;
  /** Ends the session with an error, which it tells the peer. */
  fail(error: SessionError): void;
  /** The relay is stopping. */
  close(): void;
}

const RECEIVE_BYTES = 65536;
/** Receptions for one report. A peer whose turn is over (turns.ts) is not read before. */
const RECEIVES_PER_REPORT = 4;
/** What a session may leave unsent (it ends itself beyond that), and the NULs of an opening. */
const MAX_QUEUED_BYTES =
  LIMITS.HOST_WINDOW_BYTES +
  2 * LIMITS.CONTROL_RESERVE_BYTES +
  2 * LIMITS.FLUSH_NULS +
  LIMITS.MAX_MESSAGE_BYTES;

/** A connection that is a descriptor. */
export class FdConnection implements Connection {
  readonly peer: string;
  readonly #fd: number;
  readonly #maxQueuedBytes: number;
  readonly #buffer = Buffer.allocUnsafe(RECEIVE_BYTES);
  #socket: FdSocket | undefined;
  #reading = true;

  /** Takes a connected socket over; closes it when more than `maxQueuedBytes` wait to be sent. */
  constructor(fd: number, peer: string, maxQueuedBytes = MAX_QUEUED_BYTES) {
    this.#fd = fd;
    this.peer = peer;
    this.#maxQueuedBytes = maxQueuedBytes;
  }

  start(events: ConnectionEvents): void {
    this.#socket = new FdSocket(
      this.#fd,
      {
        onReadable: () => this.#receive(events),
        onDrain: () => events.onDrain(),
        onClose: () => events.onClose(),
      },
      this.#maxQueuedBytes,
    );
  }

  get unsentBytes(): number {
    return this.#socket?.queuedBytes ?? 0;
  }

  setReading(on: boolean): void {
    this.#reading = on;
    this.#socket?.setReading(on);
  }

  write(pieces: readonly Uint8Array[]): void {
    for (const piece of pieces) this.#socket?.send(piece);
  }

  close(): void {
    this.#socket?.close();
  }

  #receive(events: ConnectionEvents): void {
    const socket = this.#socket;
    for (let count = 0; count < RECEIVES_PER_REPORT && socket !== undefined; count++) {
      const received = socket.receive(this.#buffer, 0, RECEIVE_BYTES);
      if (received.kind === "nothing") return;
      // Guests send no descriptors, so a peer that does is rejected.
      if (received.kind === "end" || received.descriptors.length > 0) {
        if (received.kind === "bytes") received.descriptors.forEach(closeDescriptor);
        socket.close();
        return;
      }
      events.onData(this.#buffer.subarray(0, received.count));
      if (socket.closed || !this.#reading) return;
    }
  }
}
