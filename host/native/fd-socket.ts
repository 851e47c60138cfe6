/**
 * UNIX stream sockets that carry file descriptors, which Node's own sockets cannot.
 *
 * Reading is pulled: the owner is notified that bytes have arrived, and receives as many as it wants; a descriptor comes
 * with the bytes it was sent with. Writing never blocks: bytes that the system does not accept are queued, up to a bound.
 * A peer that does not read is disconnected.
 */
import { lstatSync, unlinkSync } from "node:fs";
import { closeDescriptor, duplicateDescriptor } from "./descriptor.ts";
import { isSystemError, os } from "./os-addon.ts";
import { Watch } from "./poller.ts";

const ACCEPT_RETRY_MS = 100;

/** Longest path of a UNIX socket on this system, in bytes. */
export const MAX_SOCKET_PATH_BYTES = os.maxPathBytes;

/** A socket cannot be opened; the message says what to do. */
export class SocketError extends Error {
  override readonly name = "SocketError";
}

/** The peer reads too slowly: more than the bound waits to be sent. */
export class SendQueueFullError extends Error {
  override readonly name = "SendQueueFullError";
}

export interface FdSocketEvents {
  /** Bytes or the end can be received. Called again while bytes are left. */
  onReadable(): void;
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
  #closed = false;

  /**
   * Takes a connected socket over.
   *
   * @param maxQueuedBytes what may wait to be sent
   */
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
      this.close(
        new SendQueueFullError(`the peer does not read: more than ${this.#maxQueuedBytes} bytes are queued`),
      );
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
    if (!this.#closed) this.#watch.arm({ readable: true, writable: this.#queue.length > 0 });
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

function checkPath(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_SOCKET_PATH_BYTES) {
    throw new SocketError(
      `the socket path ${path} has ${bytes} bytes, and the system takes ${MAX_SOCKET_PATH_BYTES}: choose a shorter one, e.g. below /run`,
    );
  }
}

/** @returns descriptor of a connected socket, for FdSocket. @throws SocketError */
export function connectUnix(path: string): number {
  checkPath(path);
  try {
    return os.connect(path);
  } catch (error) {
    throw new SocketError(`cannot connect to ${path}: ${asError(error).message}`, { cause: error });
  }
}

/** Whether a process listens on the socket file. */
function isAlive(path: string): boolean {
  try {
    closeDescriptor(os.connect(path));
    return true;
  } catch (error) {
    // A full backlog or missing permission shows that a process listens; a refused connection does not.
    return !isSystemError(error, "ECONNREFUSED");
  }
}

function bind(path: string): number {
  try {
    return os.listen(path);
  } catch (error) {
    if (isSystemError(error, "EADDRINUSE")) {
      if (!lstatSync(path).isSocket()) {
        throw new SocketError(`${path} exists and is not a socket: choose another path, or remove the file`);
      }
      if (isAlive(path)) {
        throw new SocketError(
          `${path} is in use: another process listens there. End it, or choose another path`,
        );
      }
      unlinkSync(path);
      return os.listen(path);
    }
    if (isSystemError(error, "ENOENT")) {
      throw new SocketError(`the folder of ${path} does not exist: create it first`);
    }
    if (isSystemError(error, "EACCES") || isSystemError(error, "EPERM")) {
      throw new SocketError(
        `no permission to create ${path}: choose a folder that user ${process.getuid?.()} can write to`,
      );
    }
    throw new SocketError(`cannot listen on ${path}: ${asError(error).message}`, { cause: error });
  }
}

/** A listening UNIX socket, mode 0600. */
export class FdListener {
  readonly #fd: number;
  readonly #path: string | undefined;
  readonly #watch: Watch;
  #retry: NodeJS.Timeout | undefined;
  #closed = false;

  private constructor(fd: number, path: string | undefined, onConnection: (fd: number) => void) {
    this.#fd = fd;
    this.#path = path;
    this.#watch = new Watch(fd, () => {
      // One for each report: the next connection is reported at once.
      let connection: number | null;
      try {
        connection = os.accept(fd);
      } catch (error) {
        // Most likely no descriptors are left: the connection is accepted when there are some again.
        this.#retry = setTimeout(() => this.#arm(), ACCEPT_RETRY_MS);
        throw error;
      }
      this.#arm();
      if (connection !== null) onConnection(connection);
    });
    this.#arm();
  }

  /**
   * Listens on a path. A stale socket file is replaced.
   *
   * @param onConnection gets the descriptor of a connected socket, which is then its own
   * @throws SocketError
   */
  static listen(path: string, onConnection: (fd: number) => void): FdListener {
    checkPath(path);
    return new FdListener(bind(path), path, onConnection);
  }

  /** Takes over a descriptor that listens already. */
  static adopt(fd: number, onConnection: (fd: number) => void): FdListener {
    return new FdListener(fd, undefined, onConnection);
  }

  /** Ends listening and removes the socket file. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#watch.close();
    closeDescriptor(this.#fd);
    if (this.#path === undefined) return;
    try {
      unlinkSync(this.#path);
    } catch {
      // It has been removed already.
    }
  }

  #arm(): void {
    if (!this.#closed) this.#watch.arm({ readable: true, writable: false });
  }
}

/** User id of the process at the other end of a connected UNIX socket. */
export function peerUser(fd: number): number {
  return os.peerUser(fd);
}

/**
 * A vsock socket that listens for guests (and, on CID 1, this machine), for FdListener.adopt.
 *
 * @throws SocketError where there is no vsock, or the port is taken
 */
export function listenVsock(port: number): number {
  try {
    return os.listenVsock(port);
  } catch (error) {
    if (isSystemError(error, "EADDRINUSE")) {
      throw new SocketError(`vsock port ${port} is in use: choose another`, { cause: error });
    }
    if (isSystemError(error, "EAFNOSUPPORT") || isSystemError(error, "ENODEV")) {
      throw new SocketError(
        "this machine has no vsock: load it with `modprobe vhost_vsock` (Linux), or use a port, unix: or tcp:",
        { cause: error },
      );
    }
    throw new SocketError(`cannot listen on vsock port ${port}: ${asError(error).message}`, { cause: error });
  }
}

/** Context id of the machine at the other end of a connected vsock socket. */
export function peerCid(fd: number): number {
  return os.peerCid(fd);
}

/** What an inherited descriptor is; a stream socket is made non-blocking. */
export function adoptDescriptor(fd: number): "listening" | "connected" | "other" {
  return os.adopt(fd);
}
