/**
 * A proxy between the relay and QEMU's end of the virtserialport that counts raw bytes and knows nothing of the
 * protocol in them: what it says about bytes per frame does not depend on the code that claims it.
 *
 * It mirrors connections: the relay's connect opens one to QEMU, and whichever side goes (kill -9 included), the other
 * side's connection is dropped too. QEMU's chardev serves one client, so there is at most one pair; a second client
 * waits, as it would in QEMU's backlog.
 */
import { createWriteStream, type WriteStream } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";

export interface PortCounts {
  guestToHost: number;
  hostToGuest: number;
}

export interface PortCounterOptions {
  /** Where the relay connects: made by start(). */
  listenPath: string;
  /** QEMU's chardev socket. */
  targetPath: string;
  /** A folder for guest-to-host.bin and host-to-guest.bin with the first bytes of each direction. */
  recordTo?: string;
  /** How much of each direction is recorded; default 16 MiB. */
  recordLimit?: number;
}

interface Direction {
  bytes: number;
  record: WriteStream | undefined;
}

const DEFAULT_RECORD_LIMIT = 16 * 1024 * 1024;

export class PortCounter {
  readonly listenPath: string;
  readonly #target: string;
  readonly #recordLimit: number;
  readonly #up: Direction;
  readonly #down: Direction;
  readonly #server: Server;
  readonly #waiting: Socket[] = [];
  #pair: { relay: Socket; qemu: Socket } | undefined;
  /** How many times a relay has connected. */
  connections = 0;

  constructor(options: PortCounterOptions) {
    this.listenPath = options.listenPath;
    this.#target = options.targetPath;
    this.#recordLimit = options.recordLimit ?? DEFAULT_RECORD_LIMIT;
    const record = (name: string): WriteStream | undefined =>
      options.recordTo === undefined ? undefined : createWriteStream(join(options.recordTo, name));
    this.#up = { bytes: 0, record: record("guest-to-host.bin") };
    this.#down = { bytes: 0, record: record("host-to-guest.bin") };
    this.#server = createServer((relay) => this.#accept(relay));
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(this.listenPath, resolve);
    });
  }

  /** Bytes since the start, over all connections. */
  counts(): PortCounts {
    return { guestToHost: this.#up.bytes, hostToGuest: this.#down.bytes };
  }

  async stop(): Promise<void> {
    this.#server.close();
    for (const socket of this.#waiting.splice(0)) {
      socket.destroy();
    }
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
    const qemu = connect(this.#target);
    qemu.on("error", () => {});
    this.#pair = { relay, qemu };
    this.#forward(qemu, relay, this.#up);
    this.#forward(relay, qemu, this.#down);
    let closed = 0;
    const drop = (): void => {
      relay.destroy();
      qemu.destroy();
      closed += 1;
      if (closed === 2) {
        this.#pair = undefined;
        this.#next();
      }
    };
    relay.once("close", drop);
    qemu.once("close", drop);
  }

  #next(): void {
    for (let socket = this.#waiting.shift(); socket !== undefined; socket = this.#waiting.shift()) {
      if (!socket.destroyed) {
        socket.resume();
        this.#accept(socket);
        return;
      }
    }
  }

  #forward(from: Socket, to: Socket, direction: Direction): void {
    from.on("data", (data) => {
      if (direction.bytes < this.#recordLimit) {
        direction.record?.write(data.subarray(0, this.#recordLimit - direction.bytes));
      }
      direction.bytes += data.length;
      if (!to.write(data)) {
        from.pause(); // what the reader does not take must stay in the sender, as without us
        to.once("drain", () => from.resume());
      }
    });
    from.once("end", () => to.end());
  }
}
