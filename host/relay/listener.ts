/**
 * A socket on which the relay listens, with a session for each that connects: guests and programs by UNIX socket,
 * TCP or vsock, and QEMU, where its chardev is the one that connects.
 *
 * What a stranger can cost is bounded: connections are counted, and one that has had no open session for a while is
 * closed, so half-open and idle clients do not use up the places.
 */
import type { Logger } from "pino";
import { formatAddress } from "../../common/address.ts";
import { type Acceptor, type AcceptorOptions, openAcceptor } from "./acceptor.ts";
import type { Connection } from "./connection.ts";
import type { Link } from "./link.ts";
import type { SessionServer } from "./session.ts";

/** The first bytes of a client of Helix's protocol ("HXFR", its magic 0x52465848). */
const HELIX_MAGIC = Buffer.from("HXFR");
/** How often clients are looked at. */
const SWEEP_MS = 1000;

/** How long a client may be connected without a session. */
export const IDLE_MS = 10_000;

export interface ListenerOptions extends AcceptorOptions {
  readonly maxClients: number;
  /** Close clients without a session; not for a chardev, which is there as long as its VM. */
  readonly closeIdle: boolean;
  /** A session server for a new client. */
  readonly serve: (log: Logger) => SessionServer;
}

interface Client {
  readonly connection: Connection;
  readonly server: SessionServer;
  /** First bytes, up to a magic's length. */
  first: Buffer;
  /** When it last had a session. */
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
      log.warn(`refused: ${maxClients} are connected already, which is the limit`);
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
          log.error(
            "a client of Helix's protocol (HXFR): this relay does not speak it; use the element vsockenc",
          );
          connection.close();
        }
      },
      onClose: () => {
        this.#clients.delete(client);
        log.info("a client has gone");
        server.onDisconnect();
      },
    });
    log.info("a client has connected");
    server.onConnect();
  }

  /** Whether the client speaks another protocol that we know by its first bytes. */
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
        this.#log.info({ peer: client.connection.peer }, `closed: no session for ${IDLE_MS / 1000} s`);
        client.connection.close();
      }
    }
  }
}
