/** Listening sockets of every kind, and the peers that each of them accepts. */
import { createServer } from "node:net";
import type { Logger } from "pino";
import { type Address, formatAddress, isLoopback } from "../../common/address.ts";
import { FdListener, identify, listenForUsers, listenVsock, SocketError } from "../native/listener.ts";
import { closeDescriptor, os } from "../native/os-addon.ts";
import { type Connection, FdConnection, NetConnection } from "./connection.ts";

export interface AcceptorOptions {
  readonly address: Address;
  /** UNIX: users that may connect, besides our own and root. */
  readonly users: readonly number[];
  /** vsock: the only machine that may connect; undefined: every machine. */
  readonly cid?: number | undefined;
}

export interface Acceptor {
  close(): void;
}

type OnConnection = (connection: Connection) => void;

/**
 * Listens.
 *
 * @throws SocketError with the reason and the remedy
 */
export async function openAcceptor(
  { address, users, cid }: AcceptorOptions,
  onConnection: OnConnection,
  log: Logger,
): Promise<Acceptor> {
  switch (address.kind) {
    case "unix":
      return listenForUsers(address.path, users, {
        onConnection: (fd, user) => onConnection(new FdConnection(fd, `user ${user}`)),
        onRefused: (user) =>
          log.warn({ user }, "rejected a user without access; allow the user id in `users`"),
      });
    case "vsock":
      return acceptVsock(address.port, cid, onConnection, log);
    case "tcp":
      return acceptTcp(address, onConnection, log);
  }
}

function acceptVsock(
  port: number,
  cid: number | undefined,
  onConnection: OnConnection,
  log: Logger,
): Acceptor {
  return FdListener.adopt(listenVsock(port), (fd) => {
    const peer = identify(fd, os.peerCid);
    if (peer === undefined) return;
    if (cid === undefined || peer === cid) {
      onConnection(new FdConnection(fd, `CID ${peer}`));
      return;
    }
    closeDescriptor(fd);
    log.warn({ cid: peer }, `rejected a machine without access: only CID ${cid} may connect`);
  });
}

async function acceptTcp(
  address: Extract<Address, { kind: "tcp" }>,
  onConnection: OnConnection,
  log: Logger,
): Promise<Acceptor> {
  const name = formatAddress(address);
  if (!isLoopback(address.host)) {
    log.warn("other machines can use this encoder and read its traffic: no encryption, no authentication");
  }
  const server = createServer((socket) => onConnection(new NetConnection(socket)));
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const hint =
        error.code === "EADDRINUSE"
          ? "another program listens there; choose another port"
          : error.code === "EACCES"
            ? "ports below 1024 are reserved for root; choose a higher one"
            : error.message;
      reject(new SocketError(`cannot listen on ${name}: ${hint}`, { cause: error }));
    });
    server.listen({ host: address.host, port: address.port }, resolve);
  });
  server.on("error", (error) => log.error({ err: error }, "cannot accept a connection"));
  return server;
}
