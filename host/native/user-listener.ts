/** UNIX sockets that only some users may connect to. */
import { chmodSync } from "node:fs";
import { closeDescriptor } from "./descriptor.ts";
import { FdListener, peerUser } from "./fd-socket.ts";

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
    const user = identify(fd, peerUser);
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
export function identify(fd: number, read: (fd: number) => number): number | undefined {
  try {
    return read(fd);
  } catch {
    closeDescriptor(fd);
    return undefined;
  }
}
