/**
 * The connections of a server that are not viewers': requests for the page, TLS handshakes, and programs that connect and
 * say nothing. When there are too many, the one that has been without a request for longest makes room, so that silent
 * programs keep no browser out.
 */
import type { Socket } from "node:net";

/** The same for a connection and for the TLS in it. */
const nameOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;

export class PlainConnections {
  readonly #most: number;
  /** By name; the longest without a request first. */
  readonly #sockets = new Map<string, Socket>();

  constructor(most: number) {
    this.#most = most;
  }

  /** A new connection. */
  add(socket: Socket): void {
    const name = nameOf(socket);
    this.#sockets.set(name, socket);
    socket.once("close", () => this.#sockets.delete(name));
    for (const oldest of this.#sockets.values()) {
      if (this.#sockets.size <= this.#most) break;
      this.remove(oldest);
      oldest.destroy();
    }
  }

  /** A request came. */
  touch(socket: Socket): void {
    const name = nameOf(socket);
    const plain = this.#sockets.get(name);
    if (plain === undefined) return;
    this.#sockets.delete(name);
    this.#sockets.set(name, plain);
  }

  /** It is a viewer's from now on. */
  remove(socket: Socket): void {
    this.#sockets.delete(nameOf(socket));
  }
}
