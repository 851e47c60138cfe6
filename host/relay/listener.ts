/**
 * A socket on which the relay listens, with a session for each client: guests and programs by UNIX socket, TCP or vsock,
 * and QEMU if its chardev is the client.
 *
 * The cost of a client is bounded: connections are limited, and one without an open session is closed after a while, so
 * that half-open and idle clients do not use up the limit.
 */
import { createServer, type Server } from "node:net";
import type { Logger } from "pino";
import { type Address, formatAddress, isLoopback } from "../../common/address.ts";
import { HXFR_MAGIC } from "../../proto/hxfr.ts";
import type { ListenProtocol } from "../config.ts";
import { FdListener, identify, listenForUsers, listenVsock, SocketError } from "../native/listener.ts";
import { closeDescriptor, os } from "../native/os-addon.ts";
import { type Connection, FdConnection, type Link, type LinkServer, NetConnection } from "./connection.ts";
import { MAX_HXFR_UNSENT_BYTES } from "./hxfr-session.ts";

/** The first bytes of a client of Helix's protocol. */
const HELIX_MAGIC = Buffer.alloc(4);
HELIX_MAGIC.writeUInt32LE(HXFR_MAGIC);
/** Interval of the search for idle clients. */
const SWEEP_MS = 1000;

/** Maximum time of a connection without a session. */
export const IDLE_MS = 10_000;

export interface ListenerOptions {
  readonly address: Address;
  /** UNIX: users that may connect, besides our own and root. */
  readonly users: readonly number[];
  /** vsock: the only machine that may connect; undefined: every machine. */
  readonly cid?: number | undefined;
  readonly maxClients: number;
  /** Close clients without a session; not for a chardev, which stays connected as long as its VM runs. */
  readonly closeIdle: boolean;
  readonly protocol: ListenProtocol;
  /** Makes the server of a new client. */
  readonly serve: (log: Logger) => LinkServer;
}

interface Client {
  readonly connection: Connection;
  readonly server: LinkServer;
  /** Its first bytes, up to the length of HELIX_MAGIC. */
  first: Buffer;
  /** Time when it last had a session. */
  lastOpen: number;
}

export class Listener implements Link {
  readonly name: string;
  readonly #options: ListenerOptions;
  readonly #log: Logger;
  readonly #clients = new Set<Client>();
  #acceptor: { close(): void } | undefined;
  #sweep: NodeJS.Timeout | undefined;

  constructor(options: ListenerOptions, log: Logger) {
    this.#options = options;
    this.name = formatAddress(options.address);
    this.#log = log.child({ listen: this.name });
  }

  /** @throws SocketError */
  async open(): Promise<void> {
    this.#acceptor = await openAcceptor(this.#options, (connection) => this.#accept(connection), this.#log);
    if (this.#options.closeIdle) this.#sweep = setInterval(() => this.#closeIdle(), SWEEP_MS);
    this.#log.info("listening");
  }

  get connections(): number {
    return this.#clients.size;
  }

  /** Says goodbye to every client and stops listening. */
  close(): void {
    clearInterval(this.#sweep);
    this.#acceptor?.close();
    for (const { server, connection } of [...this.#clients]) {
      server.close();
      connection.close();
    }
  }

  #accept(connection: Connection): void {
    const { maxClients, serve } = this.#options;
    const log = this.#log.child({ peer: connection.peer });
    if (this.#clients.size >= maxClients) {
      log.warn(`rejected a client: ${maxClients} are connected, which is the limit`);
      connection.start({ onData: () => undefined, onDrain: () => undefined, onClose: () => undefined });
      connection.close();
      return;
    }
    const server = serve(log);
    server.attach(connection);
    const client: Client = { connection, server, first: Buffer.alloc(0), lastOpen: performance.now() };
    this.#clients.add(client);
    connection.start({
      onData: (chunk) => {
        if (!this.#isForeign(client, chunk)) server.onData(chunk);
        else {
          log.error(
            'rejected a client of Helix\'s protocol (HXFR); use our element vsockenc, or a [[listen]] with protocol = "hxfr"',
          );
          connection.close();
        }
      },
      onDrain: () => server.onDrain?.(),
      onClose: () => {
        this.#clients.delete(client);
        log.info("client disconnected");
        server.onDisconnect();
      },
    });
    log.info("client connected");
    server.onConnect();
  }

  /** Whether the first bytes are those of Helix's protocol, and should not be. */
  #isForeign(client: Client, chunk: Buffer): boolean {
    if (this.#options.protocol === "hxfr") return false;
    const missing = HELIX_MAGIC.length - client.first.length;
    if (missing === 0) return false;
    client.first = Buffer.concat([client.first, chunk.subarray(0, missing)]);
    return client.first.equals(HELIX_MAGIC);
  }

  #closeIdle(): void {
    const now = performance.now();
    for (const client of [...this.#clients]) {
      if (client.server.isOpen) client.lastOpen = now;
      else if (now - client.lastOpen >= IDLE_MS) {
        const { peer } = client.connection;
        this.#log.info({ peer }, `closed a client without a session for ${IDLE_MS / 1000} s`);
        client.connection.close();
      }
    }
  }
}

type OnConnection = (connection: Connection) => void;

/** @throws SocketError with the reason and the remedy */
async function openAcceptor(
  { address, users, cid, protocol }: ListenerOptions,
  onConnection: OnConnection,
  log: Logger,
): Promise<{ close(): void }> {
  const maxQueuedBytes = protocol === "hxfr" ? MAX_HXFR_UNSENT_BYTES : undefined;
  const fromFd = (fd: number, peer: string): void => onConnection(new FdConnection(fd, peer, maxQueuedBytes));
  switch (address.kind) {
    case "unix":
      return listenForUsers(address.path, users, {
        onConnection: (fd, user) => fromFd(fd, `user ${user}`),
        onRefused: (user) =>
          log.warn({ user }, "rejected a user without access; allow the user id in `users`"),
      });
    case "vsock":
      return acceptVsock(address.port, cid, fromFd, log);
    case "tcp":
      return acceptTcp(address, onConnection, log);
  }
}

function acceptVsock(
  port: number,
  cid: number | undefined,
  onConnection: (fd: number, peer: string) => void,
  log: Logger,
) {
  return FdListener.adopt(listenVsock(port), (fd) => {
    const peer = identify(fd, os.peerCid);
    if (peer === undefined) return;
    if (cid === undefined || peer === cid) {
      onConnection(fd, `CID ${peer}`);
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
): Promise<Server> {
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
