/** UNIX and vsock sockets that are opened by address: listening, with a choice of users, and connecting. */
import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import { errorText } from "../../common/error-text.ts";
import { RateLimit } from "../../common/rate-limit.ts";
import { closeDescriptor, isSystemError, os } from "./os-addon.ts";
import { Watch } from "./poller.ts";

/** More connections wait in the system's queue. */
export const ACCEPTS_PER_SECOND = 50;
const ACCEPT_RETRY_MS = 100;

/** A socket cannot be opened; the message says what to do. */
export class SocketError extends Error {
  override readonly name = "SocketError";
}

function checkPath(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes > os.maxPathBytes) {
    throw new SocketError(
      `the socket path ${path} has ${bytes} bytes, and the system takes ${os.maxPathBytes}: choose a shorter one, e.g. below /run`,
    );
  }
}

/** @returns descriptor of a connected socket, for FdSocket. @throws SocketError */
export function connectUnix(path: string): number {
  checkPath(path);
  try {
    return os.connect(path);
  } catch (error) {
    throw new SocketError(`cannot connect to ${path}: ${errorText(error)}`, { cause: error });
  }
}

/** Id of the process that listens at a UNIX socket; undefined if none does, or it cannot be seen. */
export function listeningProcess(path: string): number | undefined {
  try {
    const fd = os.connect(path);
    const pid = os.peerProcess(fd);
    closeDescriptor(fd);
    return pid === 0 ? undefined : pid;
  } catch {
    return undefined;
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

function listenUnix(path: string): number {
  checkPath(path);
  try {
    return os.listen(path);
  } catch (error) {
    if (isSystemError(error, "EADDRINUSE") && lstatSync(path).isSocket() && !isAlive(path)) {
      unlinkSync(path);
      return os.listen(path);
    }
    throw new SocketError(listenFailure(path, error), { cause: error });
  }
}

function listenFailure(path: string, error: unknown): string {
  if (isSystemError(error, "EADDRINUSE")) {
    return lstatSync(path).isSocket()
      ? `${path} is in use: another process listens there. End it, or choose another path`
      : `${path} exists and is not a socket: choose another path, or remove the file`;
  }
  if (isSystemError(error, "ENOENT")) return `the folder of ${path} does not exist: create it first`;
  if (isSystemError(error, "EACCES") || isSystemError(error, "EPERM")) {
    return `no permission to create ${path}: choose a folder that user ${process.getuid?.()} can write to`;
  }
  return `cannot listen on ${path}: ${errorText(error)}`;
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
    let text = `cannot listen on vsock port ${port}: ${errorText(error)}`;
    if (isSystemError(error, "EADDRINUSE")) text = `vsock port ${port} is in use: choose another`;
    if (isSystemError(error, "EAFNOSUPPORT") || isSystemError(error, "ENODEV")) {
      text =
        "this machine has no vsock: load it with `modprobe vhost_vsock` (Linux), or use a port, unix: or tcp:";
    }
    throw new SocketError(text, { cause: error });
  }
}

/**
 * A TCP socket that listens, for FdListener.adopt.
 *
 * @param address a number of either family
 * @throws SocketError
 */
export function listenTcp(address: string, port: number): number {
  try {
    return os.listenTcp(address, port);
  } catch (error) {
    const hint = isSystemError(error, "EADDRINUSE")
      ? "another program listens there; choose another port"
      : isSystemError(error, "EACCES")
        ? "ports below 1024 are reserved for root; choose a higher one"
        : errorText(error);
    throw new SocketError(`cannot listen on ${address}, port ${port}: ${hint}`, { cause: error });
  }
}

/** A listening socket. */
export class FdListener {
  readonly #fd: number;
  readonly #path: string | undefined;
  readonly #watch: Watch;
  #retry: NodeJS.Timeout | undefined;
  #closed = false;

  private constructor(fd: number, path: string | undefined, onConnection: (fd: number) => void) {
    this.#fd = fd;
    this.#path = path;
    const accepts = new RateLimit(ACCEPTS_PER_SECOND);
    this.#watch = new Watch(fd, () => {
      if (!accepts.take()) {
        this.#retry = setTimeout(() => this.#arm(), ACCEPT_RETRY_MS);
        return;
      }
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
   * Listens on the path of a UNIX socket, mode 0600. A stale socket file is replaced.
   *
   * @param onConnection gets the descriptor of a connected socket, which is then its own
   * @throws SocketError
   */
  static listen(path: string, onConnection: (fd: number) => void): FdListener {
    return new FdListener(listenUnix(path), path, onConnection);
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

export interface UserListenerEvents {
  /** Gets the descriptor of a connected socket, which is then its own. */
  onConnection(fd: number, user: number): void;
  /** Another user connected and was disconnected. */
  onRefused(user: number): void;
}

/**
 * Listens for our own user, root and `users`. The socket's mode is 0600; with any `users` it is 0666, and the peer's
 * user id alone decides.
 *
 * @throws SocketError
 */
export function listenForUsers(
  path: string,
  users: readonly number[],
  { onConnection, onRefused }: UserListenerEvents,
): FdListener {
  const allowed = new Set([process.getuid?.() ?? 0, 0, ...users]);
  const listener = FdListener.listen(path, (fd) => {
    const user = identify(fd, os.peerUser);
    if (user === undefined) return;
    if (allowed.has(user)) {
      onConnection(fd, user);
      return;
    }
    closeDescriptor(fd);
    onRefused(user);
  });
  if (users.length > 0) chmodSync(path, 0o666);
  return listener;
}

/** What `read` finds out about a peer; undefined, and the descriptor closed, if the peer has disconnected already. */
export function identify<Identity>(fd: number, read: (fd: number) => Identity): Identity | undefined {
  try {
    return read(fd);
  } catch {
    closeDescriptor(fd);
    return undefined;
  }
}
