/** Listening sockets of every kind, and who may connect to them. */
import { chmodSync } from "node:fs";
import { createServer } from "node:net";
import type { Logger } from "pino";
import { type Address, formatAddress, isLoopback } from "../../common/address.ts";
import { closeDescriptor } from "../native/descriptor.ts";
import { FdListener, listenVsock, peerCid, peerUser, SocketError } from "../native/fd-socket.ts";
import { type Connection, FdConnection, NetConnection } from "./connection.ts";

export interface AcceptorOptions {
  readonly address: Address;
  /** UNIX: users that may connect, besides our own and root. */
  readonly users: readonly number[];
  /** vsock: the only machine that may connect; undefined: every one. */
  readonly cid?: number | undefined;
}

export interface Acceptor {
  close(): void;
}

/**
 * Listens.
 *
 * @throws SocketError: why not, and what to do
 */
export async function openAcceptor(
  options: AcceptorOptions,
  onConnection: (connection: Connection) => void,
  log: Logger,
): Promise<Acceptor> {
  const { address } = options;
  switch (address.kind) {
    case "unix":
      return acceptUnix(address.path, options.users, onConnection, log);
    case "vsock":
      return acceptVsock(address.port, options.cid, onConnection, log);
    case "tcp":
      return acceptTcp(address, onConnection, log);
  }
}

function acceptUnix(
  path: string,
  users: readonly number[],
  onConnection: (connection: Connection) => void,
  log: Logger,
): Acceptor {
  const allowed = new Set([process.getuid?.() ?? 0, 0, ...users]);
  const listener = FdListener.listen(path, (fd) => {
    const user = identify(fd, peerUser, log);
    if (user === undefined) return;
    if (allowed.has(user)) {
      onConnection(new FdConnection(fd, `user ${user}`));
      return;
    }
    closeDescriptor(fd);
    log.warn({ path, user }, "refused a user who may not connect: add the number to `users` if he should");
  });
  // Mode 0600 keeps others out before they are asked who they are; those who are named could not come either.
  if (users.length > 0) chmodSync(path, 0o666);
  return listener;
}

function acceptVsock(
  port: number,
  cid: number | undefined,
  onConnection: (connection: Connection) => void,
  log: Logger,
): Acceptor {
  return FdListener.adopt(listenVsock(port), (fd) => {
    const peer = identify(fd, peerCid, log);
    if (peer === undefined) return;
    if (cid === undefined || peer === cid) {
      onConnection(new FdConnection(fd, `CID ${peer}`));
      return;
    }
    closeDescriptor(fd);
    log.warn({ port, cid: peer }, `refused a machine that may not connect: this listener is for CID ${cid}`);
  });
}

/** Who has connected; undefined, and the descriptor closed, if he has gone already. */
function identify(fd: number, ask: (fd: number) => number, log: Logger): number | undefined {
  try {
    return ask(fd);
  } catch (error) {
    closeDescriptor(fd);
    log.debug({ err: error }, "a client went before it could be asked who it is");
    return undefined;
  }
}

async function acceptTcp(
  address: Extract<Address, { kind: "tcp" }>,
  onConnection: (connection: Connection) => void,
  log: Logger,
): Promise<Acceptor> {
  const name = formatAddress(address);
  if (!isLoopback(address.host)) {
    log.warn(
      { address: name },
      "others on the network can use this encoder, and read along: nothing is encrypted or authenticated",
    );
  }
  const server = createServer((socket) => onConnection(new NetConnection(socket)));
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const hint =
        error.code === "EADDRINUSE"
          ? "another program listens there; choose another port"
          : error.code === "EACCES"
            ? "ports below 1024 are root's; choose a higher one"
            : error.message;
      reject(new SocketError(`cannot listen on ${name}: ${hint}`, { cause: error }));
    });
    server.listen({ host: address.host, port: address.port }, resolve);
  });
  server.on("error", (error) =>
    log.error({ address: name, err: error }, "a connection could not be accepted"),
  );
  return server;
}
