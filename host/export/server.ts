/**
 * An exporter's socket: answers where the bytes of resource N are (PROTOCOL.md, "Export protocol").
 *
 * A relay that holds a resource is asked to release it before the guest gets the pages back, and has REVOKE_HOLD_MS to
 * answer. One that let that time pass is not waited for again until it has answered. No relay can stop the guest for
 * longer, and none can make this process keep more than its bounds: a relay that breaks them is disconnected.
 */
import type { Logger } from "pino";
import type { ExportMessage, Rectangle } from "../../proto/export.ts";
import type { FdListener } from "../native/listener.ts";
import { listenForUsers } from "../native/listener.ts";
import { closeDescriptor } from "../native/os-addon.ts";
import { ExportConnection } from "./connection.ts";
import type { ExportSource, Scanout } from "./source.ts";

/** Connections at one time. */
export const MAX_CLIENTS = 16;

export interface ExportServerOptions {
  /** Of the socket. */
  readonly path: string;
  /** Users that may connect, besides our own and root. */
  readonly users: readonly number[];
}

export class ExportServer {
  readonly #source: ExportSource;
  readonly #log: Logger;
  readonly #listener: FdListener;
  readonly #connections = new Set<ExportConnection>();
  /** Heads whose pointer has changed since the last notification: whether the image is another, too. */
  readonly #cursorChanges = new Map<number, boolean>();

  /** @throws SocketError */
  constructor({ path, users }: ExportServerOptions, source: ExportSource, log: Logger) {
    this.#source = source;
    this.#log = log;
    this.#listener = listenForUsers(path, users, {
      onConnection: (fd) => this.#accept(fd),
      onRefused: (user) =>
        log.warn({ user }, "rejected a user without access to the export socket; allow it with --export-uid"),
    });
  }

  /** How many resources the relays hold, each counted once for each relay. */
  get held(): number {
    return [...this.#connections].reduce((sum, { held }) => sum + held, 0);
  }

  /** Ends every connection and removes the socket. */
  close(): void {
    this.#listener.close();
    for (const connection of [...this.#connections]) connection.close();
  }

  /**
   * The pages are taken away: every relay that holds them is asked to stop reading.
   *
   * @returns resolves when all have, or REVOKE_HOLD_MS have passed; undefined: there is nothing to wait for
   */
  revoke(resource: number, { generation }: { readonly generation: number }): Promise<unknown> | undefined {
    const waits = [...this.#connections].flatMap(
      (connection) => connection.revoke(resource, generation) ?? [],
    );
    return waits.length === 0 ? undefined : Promise.all(waits);
  }

  /** Announces what a head shows now. */
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

  /** However often a guest moves a pointer in one turn of the event loop, the relays are notified once. */
  #noteCursor(head: number, isImage: boolean): void {
    if (this.#cursorChanges.size === 0) setImmediate(() => this.#announceCursors());
    this.#cursorChanges.set(head, isImage || this.#cursorChanges.get(head) === true);
  }

  /** The position first, so that a new image never appears at an old one. */
  #announceCursors(): void {
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
      this.#log.warn(`rejected a relay: ${MAX_CLIENTS} are connected already, which is the limit`);
      closeDescriptor(fd);
      return;
    }
    const connection: ExportConnection = new ExportConnection(fd, this.#source, {
      onLate: (resource) =>
        this.#log.warn(
          { resource },
          "a relay did not release a resource in time; the guest gets its pages back",
        ),
      onGreeted: () => this.#log.info("a relay has connected"),
      onClose: (error) => {
        this.#connections.delete(connection);
        // One that says nothing only looks whether this process is there.
        if (error === undefined && !connection.greeted) return;
        if (error === undefined) this.#log.info("a relay has disconnected");
        else this.#log.warn({ reason: error.message }, "disconnected a relay");
      },
    });
    this.#connections.add(connection);
    connection.open();
  }
}
