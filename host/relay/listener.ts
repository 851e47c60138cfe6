/**
 * A socket on which the relay listens: for guests and programs by UNIX socket, TCP or vsock, and for QEMU if its chardev is
 * the client. The number of clients is limited, and the connections of a second are (FdListener).
 */
import { lookup } from "node:dns/promises";
import type { Logger } from "pino";
import { type Address, formatAddress, isLoopback } from "../../common/address.ts";
import { FdListener, identify, listenForUsers, listenTcp, listenVsock } from "../native/listener.ts";
import { closeDescriptor, os } from "../native/os-addon.ts";
import type { Link } from "./connection.ts";
import type { PeerLink, ServedPeer, VmHost } from "./vm-host.ts";

export interface ListenerOptions {
  readonly address: Address;
  /** UNIX: users that may connect, besides our own and root. */
  readonly users: readonly number[];
  /** vsock: the only machine that may connect; undefined: every machine. */
  readonly cid?: number | undefined;
  readonly maxClients: number;
  readonly link: PeerLink;
  readonly host: VmHost;
}

export class Listener implements Link {
  readonly name: string;
  readonly #options: ListenerOptions;
  readonly #log: Logger;
  readonly #clients = new Set<ServedPeer>();
  #acceptor: FdListener | undefined;

  constructor(options: ListenerOptions, log: Logger) {
    this.#options = options;
    this.name = formatAddress(options.address);
    this.#log = log.child({ listen: this.name });
  }

  /** @throws SocketError with the reason and the remedy */
  async open(): Promise<void> {
    this.#acceptor = await this.#openAcceptor();
    this.#log.info("listening");
  }

  get connections(): number {
    return this.#clients.size;
  }

  /** Says goodbye to every client and stops listening. */
  close(): void {
    this.#acceptor?.close();
    for (const client of [...this.#clients]) client.close();
  }

  #accept(fd: number, name: string): void {
    const { maxClients, link, host } = this.#options;
    if (this.#clients.size >= maxClients) {
      this.#log.warn({ peer: name }, `rejected a client: ${maxClients} are connected, which is the limit`);
      closeDescriptor(fd);
      return;
    }
    const client = host.serve(fd, { link, name }, () => this.#clients.delete(client));
    this.#clients.add(client);
  }

  async #openAcceptor(): Promise<FdListener> {
    const { address, users, cid } = this.#options;
    switch (address.kind) {
      case "unix":
        return listenForUsers(address.path, users, {
          onConnection: (fd, user) => this.#accept(fd, `user ${user}`),
          onRefused: (user) =>
            this.#log.warn({ user }, "rejected a user without access; allow the user id in `users`"),
        });
      case "vsock":
        return FdListener.adopt(listenVsock(address.port), (fd) => this.#acceptVsock(fd, cid));
      case "tcp":
        return await this.#openTcp(address);
    }
  }

  #acceptVsock(fd: number, cid: number | undefined): void {
    const peer = identify(fd, os.peerCid);
    if (peer === undefined) return;
    if (cid === undefined || peer === cid) {
      this.#accept(fd, `CID ${peer}`);
      return;
    }
    closeDescriptor(fd);
    this.#log.warn({ cid: peer }, `rejected a machine without access: only CID ${cid} may connect`);
  }

  async #openTcp({ host, port }: Extract<Address, { kind: "tcp" }>): Promise<FdListener> {
    if (!isLoopback(host)) {
      this.#log.warn(
        "other machines can use this encoder and read its traffic: no encryption, no authentication",
      );
    }
    const { address } = await lookup(host);
    return FdListener.adopt(listenTcp(address, port), (fd) => {
      const peer = identify(fd, os.peerAddress);
      if (peer !== undefined) this.#accept(fd, peer);
    });
  }
}
