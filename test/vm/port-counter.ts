/**
 * A proxy between the relay and QEMU's end of the virtserialport that counts raw bytes and knows no protocol, so its
 * counts do not depend on the code under test.
 *
 * It mirrors connections: the relay's connect opens one to QEMU, and when either side closes (kill -9 included), so does
 * the other. QEMU's chardev serves one client, so there is at most one pair; a second client waits, as in QEMU's backlog.
 */
import { once } from "node:events";
import { createWriteStream, type WriteStream } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";

export interface PortCounterOptions {
  /** Where the relay connects: created by start(). */
  listenPath: string;
  /** QEMU's chardev socket. */
  targetPath: string;
  /** A folder for guest-to-host.bin and host-to-guest.bin with the first bytes of each direction. */
  recordTo?: string | undefined;
  /** How much of each direction is recorded; default 16 MiB. */
  recordLimit?: number;
}

interface Direction {
  bytes: number;
  readonly record: WriteStream | undefined;
}

export class PortCounter {
  readonly listenPath: string;
  readonly #target: string;
  readonly #recordLimit: number;
  readonly #up: Direction;
  readonly #down: Direction;
  readonly #server: Server;
  readonly #waiting: Socket[] = [];
  #pair: { readonly relay: Socket; readonly qemu: Socket } | undefined;
  /** How many times a relay has connected. */
  connections = 0;

  constructor({ listenPath, targetPath, recordTo, recordLimit = 16 * 1024 * 1024 }: PortCounterOptions) {
    this.listenPath = listenPath;
    this.#target = targetPath;
    this.#recordLimit = recordLimit;
    const direction = (name: string): Direction => ({
      bytes: 0,
      record: recordTo === undefined ? undefined : createWriteStream(join(recordTo, name)),
    });
    this.#up = direction("guest-to-host.bin");
    this.#down = direction("host-to-guest.bin");
    this.#server = createServer((relay) => this.#accept(relay));
  }

  async start(): Promise<void> {
    await once(this.#server.listen(this.listenPath), "listening");
  }

  /** Bytes since the start, over all connections. */
  counts(): { readonly guestToHost: number; readonly hostToGuest: number } {
    return { guestToHost: this.#up.bytes, hostToGuest: this.#down.bytes };
  }

  async stop(): Promise<void> {
    this.#server.close();
    for (const socket of this.#waiting.splice(0)) socket.destroy();
    this.#pair?.relay.destroy();
    this.#pair?.qemu.destroy();
    for (const { record } of [this.#up, this.#down]) {
      await new Promise<void>((resolve) => (record === undefined ? resolve() : record.end(resolve)));
    }
  }

  #accept(relay: Socket): void {
    relay.on("error", () => {}); // "close" follows
    if (this.#pair !== undefined) {
      relay.pause();
      this.#waiting.push(relay);
      return;
    }
    this.connections += 1;
    const qemu = connect(this.#target).on("error", () => {});
    this.#pair = { relay, qemu };
    this.#forward(qemu, relay, this.#up);
    this.#forward(relay, qemu, this.#down);
    let closed = 0;
    for (const socket of [relay, qemu]) {
      socket.once("close", () => {
        relay.destroy();
        qemu.destroy();
        closed += 1;
        if (closed === 2) this.#next();
      });
    }
  }

  /** Accepts the first client that still waits. */
  #next(): void {
    this.#pair = undefined;
    let socket = this.#waiting.shift();
    while (socket?.destroyed === true) socket = this.#waiting.shift();
    if (socket !== undefined) this.#accept(socket.resume());
  }

  #forward(from: Socket, to: Socket, direction: Direction): void {
    from.on("data", (data) => {
      if (direction.bytes < this.#recordLimit) {
        direction.record?.write(data.subarray(0, this.#recordLimit - direction.bytes));
      }
      direction.bytes += data.length;
      if (!to.write(data)) {
        from.pause(); // bytes that the reader does not take stay in the sender, as without a proxy
        to.once("drain", () => from.resume());
      }
    });
    from.once("end", () => to.end());
  }
}
