/**
 * A socket on which the relay listens, with a session for each client: guests and programs by UNIX socket, TCP or vsock,
 * and QEMU if its chardev is the client.
 *
 * The cost of a client is bounded: connections are limited, and one without an open session is closed after a while, so
 * that half-open and idle clients do not use up the limit.
 */
import type { Logger } from "pino";
import { formatAddress } from "../../common/address.ts";
import { type Acceptor, type AcceptorOptions, openAcceptor } from "./acceptor.ts";
import type { Connection } from "./connection.ts";
import type { Link } from "./link.ts";
import type { SessionServer } from "./session.ts";

/** The first bytes of a client of Helix's protocol ("HXFR", its magic 0x52465848). */
const HELIX_MAGIC = Buffer.from("HXFR");
/** Interval of the search for idle clients. */
const SWEEP_MS = 1000;

/** Maximum time of a connection without a session. */
export const IDLE_MS = 10_000;

export interface ListenerOptions extends AcceptorOptions {
  readonly maxClients: number;
  /** Close clients without a session; not for a chardev, which stays connected as long as its VM runs. */
  readonly closeIdle: boolean;
  /** Makes the session server of a new client. */
  readonly serve: (log: Logger) => SessionServer;
}

interface Client {
  readonly connection: Connection;
  readonly server: SessionServer;
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
  #acceptor: Acceptor | undefined;
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
      connection.start({ onData: () => undefined, onClose: () => undefined });
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
          log.error("rejected a client of Helix's protocol (HXFR); use the element vsockenc instead");
          connection.close();
        }
      },
      onClose: () => {
        this.#clients.delete(client);
        log.info("client disconnected");
        server.onDisconnect();
      },
    });
    log.info("client connected");
    server.onConnect();
  }

  /** Whether the first bytes are those of Helix's protocol. */
  #isForeign(client: Client, chunk: Buffer): boolean {
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
        this.#log.info(
          { peer: client.connection.peer },
          `closed a client without a session for ${IDLE_MS / 1000} s`,
        );
        client.connection.close();
      }
    }
  }
}
