/**
 * An exporter's socket: tells relays where the bytes of resource N are (PROTOCOL.md, "Export protocol").
 *
 * A relay that holds a resource is asked before the guest gets the pages back, and has REVOKE_HOLD_MS to answer.
 * One that let that time pass is not waited for again until it has answered. No relay can stop the guest for longer,
 * and none can make this process keep more than its bounds: who breaks them is disconnected.
 */
import type { Logger } from "pino";
import type { ExportMessage, Rectangle } from "../../proto/export.ts";
import { LIMITS } from "../../proto/limits.ts";
import { closeDescriptor } from "../native/descriptor.ts";
import type { FdListener } from "../native/fd-socket.ts";
import { listenForUsers } from "../native/user-listener.ts";
import { ExportConnection } from "./connection.ts";
import { Hold } from "./hold.ts";
import type { ExportSource, Scanout } from "./source.ts";

/** Connections at one time. */
const MAX_CLIENTS = 16;

export interface ExportServerOptions {
  /** Of the socket. */
  readonly path: string;
  /** Users that may connect, besides our own and root. */
  readonly users: readonly number[];
}

interface Revocation {
  readonly hold: Hold;
  readonly waitingFor: Set<ExportConnection>;
}

export class ExportServer {
  readonly #source: ExportSource;
  readonly #log: Logger;
  readonly #listener: FdListener;
  readonly #connections = new Set<ExportConnection>();
  /** By generation. */
  readonly #revocations = new Map<number, Revocation>();
  /** Heads whose pointers have changed and of which nobody has been told: whether the image is another, too. */
  readonly #cursorChanges = new Map<number, boolean>();

  /** @throws SocketError */
  constructor(options: ExportServerOptions, source: ExportSource, log: Logger) {
    this.#source = source;
    this.#log = log;
    this.#listener = listenForUsers(options.path, options.users, {
      onConnection: (fd) => this.#accept(fd),
      onRefused: (user) =>
        log.warn({ user }, "rejected a user without access to the export socket; allow it with --export-uid"),
    });
  }

  /** How many resources the relays hold, each counted once for each of them. */
  get held(): number {
    return [...this.#connections].reduce((sum, { held }) => sum + held, 0);
  }

  /** Ends every connection and removes the socket. */
  close(): void {
    this.#listener.close();
    for (const connection of [...this.#connections]) connection.close();
  }

  /** The pages go away. Whoever reads them is asked to stop; the Hold, if any, ends when all have. */
  revoke(resource: number, { generation }: { readonly generation: number }): Hold | undefined {
    const waitingFor = new Set<ExportConnection>();
    for (const connection of [...this.#connections]) {
      if (!connection.holds(generation)) continue;
      if (!connection.isLate) waitingFor.add(connection);
      connection.revoke(resource, generation);
    }
    for (const connection of waitingFor)
      if (!this.#connections.has(connection)) waitingFor.delete(connection);
    if (waitingFor.size === 0) return undefined;
    const hold = new Hold(LIMITS.REVOKE_HOLD_MS, () => {
      this.#log.warn(
        { resource, relays: waitingFor.size },
        `a relay has not released a resource within ${LIMITS.REVOKE_HOLD_MS} ms; the guest gets its pages back`,
      );
      for (const connection of waitingFor) connection.markLate(generation);
      this.#revocations.delete(generation);
    });
    this.#revocations.set(generation, { hold, waitingFor });
    return hold;
  }

  /** Tells what a head shows now. */
  scanoutChanged(head: number, { resource, rectangle }: Scanout): void {
    this.#broadcast({ type: "scanout", head, resource, rectangle });
  }

  /** @param rectangle in the head's picture */
  damaged(head: number, rectangle: Rectangle): void {
    this.#broadcast({ type: "damage", head, rectangle });
  }

  cursorImageChanged(head: number): void {
    this.#noteCursor(head, true);
  }

  cursorMoved(head: number): void {
    this.#noteCursor(head, false);
  }

  /** However often a guest moves a pointer in one turn of the event loop, the relays are told once. */
  #noteCursor(head: number, isImage: boolean): void {
    if (this.#cursorChanges.size === 0) setImmediate(() => this.#tellCursors());
    this.#cursorChanges.set(head, isImage || this.#cursorChanges.get(head) === true);
  }

  /** The place first, so that a new image is nowhere else before. */
  #tellCursors(): void {
    const shown = new Map(this.#source.cursors?.().map((cursor) => [cursor.head, cursor]));
    for (const [head, isImage] of this.#cursorChanges) {
      const cursor = shown.get(head);
      if (cursor !== undefined) this.#broadcast({ type: "cursorPosition", head, x: cursor.x, y: cursor.y });
      if (isImage) this.#broadcast({ type: "cursorImage", head, image: cursor?.image });
    }
    this.#cursorChanges.clear();
  }

  #broadcast(message: ExportMessage): void {
    for (const connection of [...this.#connections]) connection.send(message);
  }

  #accept(fd: number): void {
    if (this.#connections.size >= MAX_CLIENTS) {
      this.#log.warn(`more than ${MAX_CLIENTS} connections to the export socket: one was refused`);
      closeDescriptor(fd);
      return;
    }
    const connection: ExportConnection = new ExportConnection(fd, this.#source, {
      onReleased: (generation) => this.#released(connection, generation),
      onClose: (error) => this.#closed(connection, error),
    });
    this.#connections.add(connection);
    this.#log.info("a relay has connected");
    connection.open();
  }

  #released(connection: ExportConnection, generation: number): void {
    const revocation = this.#revocations.get(generation);
    if (revocation === undefined || !revocation.waitingFor.delete(connection)) return;
    if (revocation.waitingFor.size > 0) return;
    this.#revocations.delete(generation);
    revocation.hold.end();
  }

  #closed(connection: ExportConnection, error: Error | undefined): void {
    this.#connections.delete(connection);
    if (error === undefined) this.#log.info("a relay has gone");
    else this.#log.warn({ reason: error.message }, "a relay was disconnected");
    for (const generation of [...this.#revocations.keys()]) this.#released(connection, generation);
  }
}
