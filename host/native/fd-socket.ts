/**
 * UNIX stream sockets that carry file descriptors, which Node's own sockets cannot.
 *
 * Reading is pulled: the owner is notified that bytes have arrived, and receives as many as it wants; a descriptor comes
 * with the bytes it was sent with. Writing never blocks: bytes that the system does not accept are queued, up to a bound.
 * A peer that does not read is disconnected.
 */
import { closeDescriptor, duplicateDescriptor, isSystemError, os } from "./os-addon.ts";
import { Watch } from "./poller.ts";

/** The peer reads too slowly: more than the bound waits to be sent. */
export class SendQueueFullError extends Error {
  override readonly name = "SendQueueFullError";
}

export interface FdSocketEvents {
  /** Bytes or the end can be received. Called again while bytes are left. */
  onReadable(): void;
  /** All queued bytes have been sent. */
  onDrain?(): void;
  /** The connection is over; without `error` because the peer or this side closed it. Called once. */
  onClose(error?: Error): void;
}

export type Received =
  | { readonly kind: "bytes"; readonly count: number; readonly descriptors: readonly number[] }
  | { readonly kind: "nothing" }
  | { readonly kind: "end" };

interface Outgoing {
  readonly bytes: Uint8Array;
  offset: number;
  /** Duplicates, owned by the queue until they are sent. */
  descriptors: readonly number[];
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

export class FdSocket {
  readonly #fd: number;
  readonly #events: FdSocketEvents;
  readonly #maxQueuedBytes: number;
  readonly #watch: Watch;
  readonly #queue: Outgoing[] = [];
  #queuedBytes = 0;
  #reading = true;
  #closed = false;

  /** Takes a connected socket over; at most `maxQueuedBytes` wait to be sent. */
  constructor(fd: number, events: FdSocketEvents, maxQueuedBytes: number) {
    this.#fd = fd;
    this.#events = events;
    this.#maxQueuedBytes = maxQueuedBytes;
    this.#watch = new Watch(fd, (ready) => {
      try {
        if (ready.writable) this.#flush();
        if (ready.readable && !this.#closed) this.#events.onReadable();
      } catch (error) {
        // An open connection that is no longer watched would hang without a reason.
        this.close(asError(error));
      }
      this.#arm();
    });
    this.#arm();
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Bytes that the system has not accepted yet. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Starts or ends reports of what can be received. While bytes are queued, the end is reported all the same. */
  setReading(on: boolean): void {
    this.#reading = on;
    this.#arm();
  }

  /** Receives up to `length` bytes into `buffer` from `offset` on. The caller closes the descriptors. */
  receive(buffer: Uint8Array, offset: number, length: number): Received {
    if (this.#closed) return { kind: "end" };
    try {
      const received = os.receive(this.#fd, buffer, offset, length);
      if (received === null) return { kind: "nothing" };
      if (received.bytes > 0) {
        return { kind: "bytes", count: received.bytes, descriptors: received.descriptors };
      }
      for (const fd of received.descriptors) closeDescriptor(fd);
      return { kind: "end" };
    } catch (error) {
      // The peer was killed with unread bytes.
      if (isSystemError(error, "ECONNRESET")) return { kind: "end" };
      throw error;
    }
  }

  /**
   * Sends the bytes, the descriptors with the first of them. The bytes must not change afterwards; the descriptors
   * stay the caller's. If more bytes than the bound would be queued, the socket closes with SendQueueFullError.
   */
  send(bytes: Uint8Array, descriptors: readonly number[] = []): void {
    if (this.#closed || bytes.length === 0) return;
    let offset = 0;
    if (this.#queue.length === 0) {
      offset = this.#trySend(bytes, 0, descriptors);
      if (this.#closed || offset === bytes.length) return;
    }
    const waiting = bytes.length - offset;
    if (this.#queuedBytes + waiting > this.#maxQueuedBytes) {
      const text = `the peer does not read: more than ${this.#maxQueuedBytes} bytes are queued`;
      this.close(new SendQueueFullError(text));
      return;
    }
    this.#queue.push({ bytes, offset, descriptors: offset > 0 ? [] : descriptors.map(duplicateDescriptor) });
    this.#queuedBytes += waiting;
    this.#arm();
  }

  /** Closes; onClose is called before this returns. */
  close(error?: Error): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watch.close();
    closeDescriptor(this.#fd);
    for (const { descriptors } of this.#queue.splice(0)) descriptors.forEach(closeDescriptor);
    this.#events.onClose(error);
  }

  #arm(): void {
    if (!this.#closed) this.#watch.arm({ readable: this.#reading, writable: this.#queue.length > 0 });
  }

  #flush(): void {
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      const count = this.#trySend(next.bytes, next.offset, next.descriptors);
      if (this.#closed || count === 0) return;
      next.descriptors.forEach(closeDescriptor);
      next.descriptors = [];
      next.offset += count;
      this.#queuedBytes -= count;
      if (next.offset < next.bytes.length) return;
      this.#queue.shift();
    }
    this.#events.onDrain?.();
  }

  /** Returns how many bytes the system accepted; closes the socket if it is broken. */
  #trySend(bytes: Uint8Array, offset: number, descriptors: readonly number[]): number {
    try {
      return os.send(this.#fd, bytes, offset, descriptors) ?? 0;
    } catch (error) {
      const gone = isSystemError(error, "EPIPE") || isSystemError(error, "ECONNRESET");
      this.close(gone ? undefined : asError(error));
      return 0;
    }
  }
}
