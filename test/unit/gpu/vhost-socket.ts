/** QEMU's end of a vhost-user socket, message by message, and helpers that scripted front ends share. */
import { execFileSync } from "node:child_process";
import { constants, openSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { FdSocket } from "../../../host/native/fd-socket.ts";
import { connectUnix, FdListener } from "../../../host/native/listener.ts";
import { HANG_MS } from "../../support/hang.ts";

const HEADER_BYTES = 12;
const VERSION = 1;
const REPLY = 5;
const NEED_REPLY = 9;

/** The real one, also while timers are faked. */
const nextIteration = setImmediate;

/** Like until() of test/support, but polls on every turn of the event loop and works while timers are faked. */
export async function until<Value>(what: string, get: () => Value | undefined | false): Promise<Value> {
  const end = performance.now() + HANG_MS;
  for (;;) {
    const value = get();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > end) throw new Error(`timed out: ${what}`);
    await new Promise((resolve) => nextIteration(resolve));
  }
}

/** Both ends of a pipe, which QEMU uses as a doorbell on systems without eventfd (util/event_notifier-posix.c). */
export interface Pipe {
  readonly read: number;
  readonly write: number;
}

/** Makes pipes whose ends do not block. */
export function pipes(folder: string, count: number): readonly Pipe[] {
  const paths = Array.from({ length: count }, (_, index) => join(folder, `pipe${index}`));
  // Node has no pipe(2). A FIFO is one, once it is open.
  execFileSync("mkfifo", paths);
  return paths.map((path) => {
    const read = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const write = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
    unlinkSync(path);
    return { read, write };
  });
}

/** Two ends of a stream. */
export async function pair(folder: string): Promise<[number, number]> {
  let accepted: number | undefined;
  const listener = FdListener.listen(join(folder, "pair"), (fd) => {
    accepted = fd;
  });
  const connected = connectUnix(join(folder, "pair"));
  const other = await until("a pair of sockets", () => accepted);
  listener.close();
  return [connected, other];
}

export class VhostSocket {
  readonly #socket: FdSocket;
  #received: Buffer = Buffer.alloc(0);
  #ended = false;

  constructor(path: string) {
    const buffer = Buffer.alloc(65536);
    this.#socket = new FdSocket(
      connectUnix(path),
      {
        onReadable: () => {
          const received = this.#socket.receive(buffer, 0, buffer.length);
          if (received.kind === "end") this.#ended = true;
          if (received.kind === "bytes") {
            this.#received = Buffer.concat([this.#received, buffer.subarray(0, received.count)]);
          }
          if (this.#ended) this.#socket.close();
        },
        onClose: () => {
          this.#ended = true;
        },
      },
      1 << 20,
    );
  }

  get ended(): boolean {
    return this.#ended;
  }

  close(): void {
    this.#socket.close();
  }

  send(
    request: number,
    payload: Buffer = Buffer.alloc(0),
    descriptors: readonly number[] = [],
    flags = VERSION,
  ): void {
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt32LE(request, 0);
    header.writeUInt32LE(flags, 4);
    header.writeUInt32LE(payload.length, 8);
    this.#socket.send(Buffer.concat([header, payload]), [...descriptors]);
  }

  /** Takes the payload of the reply to `request`. */
  async reply(request: number): Promise<Buffer> {
    const reply = await until(`reply to ${request}`, () => {
      if (this.#ended) throw new Error(`closed instead of a reply to ${request}`);
      if (this.#received.length < HEADER_BYTES) return undefined;
      const end = HEADER_BYTES + this.#received.readUInt32LE(8);
      return this.#received.length < end ? undefined : this.#received.subarray(0, end);
    });
    this.#received = this.#received.subarray(reply.length);
    if (reply.readUInt32LE(0) !== request || reply.readUInt32LE(4) !== REPLY) {
      throw new Error(`reply ${reply.readUInt32LE(0)} to ${request}`);
    }
    return reply.subarray(HEADER_BYTES);
  }

  /** Sends and takes the reply's payload. */
  async ask(
    request: number,
    payload: Buffer = Buffer.alloc(0),
    descriptors: readonly number[] = [],
  ): Promise<Buffer> {
    this.send(request, payload, descriptors);
    return await this.reply(request);
  }

  /** A message that QEMU waits for: 0 is success. */
  async acknowledged(request: number, payload: Buffer, descriptors: readonly number[] = []): Promise<bigint> {
    this.send(request, payload, descriptors, NEED_REPLY);
    return (await this.reply(request)).readBigUInt64LE(0);
  }
}
