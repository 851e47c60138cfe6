/**
 * Helix's element, as far as its host sees it: its messages byte by byte from its tables, independent of the product's code.
 *
 * It sends what a test asks for, so that it can also misbehave; it does not wait for a reply before the next frame.
 */
import { connect, type Socket } from "node:net";
import { until } from "./until.ts";

export const BGRA = 0x34325241;
export const RGBA = 0x34324241;
export const NV12 = 0x3231564e;

export interface HelixFrame {
  readonly resource?: number;
  readonly width?: number;
  readonly height?: number;
  readonly format?: number;
  /** Default: that of packed pixels without padding. */
  readonly stride?: number;
  /** ns. */
  readonly pts?: bigint;
  readonly forceKey?: boolean;
  readonly pixels?: Uint8Array;
  readonly session?: number;
}

export type HelixReply = { readonly session: number } & (
  | {
      readonly type: "packet";
      readonly pts: bigint;
      readonly dts: bigint;
      readonly key: boolean;
      readonly units: readonly Buffer[];
    }
  | { readonly type: "pong" }
  | { readonly type: "error"; readonly code: number; readonly text: string }
);

/** A message with the given type, flags and payload. */
export function helixMessage(type: number, payload: Uint8Array, { session = 1, flags = 0 } = {}): Buffer {
  const header = Buffer.alloc(12);
  header.write("HXFR", "latin1");
  header[4] = type;
  header[5] = flags;
  header.writeUInt16LE(session, 6);
  header.writeUInt32LE(payload.length, 8);
  return Buffer.concat([header, payload]);
}

const words = (...numbers: number[]): Buffer => Buffer.from(new Uint32Array(numbers).buffer);

export function helixFrame(frame: HelixFrame): Buffer {
  const { resource = 0, width = 320, height = 240, format = BGRA, pts = -1n, pixels, session = 1 } = frame;
  const fixed = Buffer.alloc(44);
  words(resource, width, height, format, frame.stride ?? width * 4).copy(fixed);
  fixed.writeBigInt64LE(pts, 20);
  fixed.writeBigInt64LE(-1n, 28);
  fixed[36] = frame.forceKey ? 1 : 0;
  const payload = pixels === undefined ? fixed : Buffer.concat([fixed, pixels]);
  return helixMessage(0x01, payload, { session, flags: pixels === undefined ? 0 : 1 });
}

export const helixPing = (session = 1): Buffer => helixMessage(0x10, Buffer.alloc(0), { session });

/** @param bitrate bit/s */
export function helixConfig(
  width: number,
  height: number,
  bitrate: number,
  framerate = [30, 1],
  profile = 0,
) {
  const [numerator = 0, denominator = 0] = framerate;
  const rest = Buffer.from([profile, 0, 1, 0, 0, 0, 0, 0]);
  return helixMessage(0x04, Buffer.concat([words(width, height, bitrate, numerator, denominator), rest]));
}

export const helixEnableScanout = (id: number): Buffer => helixMessage(0x20, words(id, 1920, 1080, 60));
export const helixDisableScanout = (id: number): Buffer => helixMessage(0x21, words(id));
export const helixSubscribe = (id: number): Buffer => helixMessage(0x30, words(id));

export class HelixElement {
  readonly socket: Socket;
  readonly replies: HelixReply[] = [];
  closed = false;
  #received: Buffer = Buffer.alloc(0);

  /** @param where a path, or a port of loopback */
  constructor(where: string | number) {
    this.socket =
      typeof where === "string" ? connect({ path: where }) : connect({ port: where, host: "127.0.0.1" });
    this.socket.on("data", (chunk) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      for (let reply = this.#take(); reply !== undefined; reply = this.#take()) this.replies.push(reply);
    });
    this.socket.on("error", () => undefined);
    this.socket.on("close", () => {
      this.closed = true;
    });
  }

  send(...messages: readonly Uint8Array[]): void {
    for (const message of messages) this.socket.write(message);
  }

  frame(frame: HelixFrame): void {
    this.send(helixFrame(frame));
  }

  /** Settles with reply number `count`, by default the next. */
  async reply(count = this.replies.length + 1): Promise<HelixReply> {
    await until(() => this.replies.length >= count, `${count} replies; there are ${this.replies.length}`);
    const reply = this.replies[count - 1];
    if (reply === undefined) throw new Error("unreachable");
    return reply;
  }

  /** Sends one frame and waits for its packet. @throws Error with the text of an ERROR */
  async encode(frame: HelixFrame) {
    const reply = this.reply();
    this.frame(frame);
    const answer = await reply;
    if (answer.type === "packet") return answer;
    throw new Error(answer.type === "error" ? `${answer.code}: ${answer.text}` : answer.type);
  }

  /** Sends messages and waits for the ERROR that answers the last of them. */
  async refused(...messages: readonly Uint8Array[]) {
    const reply = this.reply(this.replies.length + messages.length);
    this.send(...messages);
    const answer = await reply;
    if (answer.type === "error") return answer;
    throw new Error(`expected an error, got ${answer.type}`);
  }

  /** Every access unit received. */
  stream(): Buffer {
    return Buffer.concat(this.replies.flatMap((reply) => (reply.type === "packet" ? reply.units : [])));
  }

  /** The next complete reply. @throws Error for one that Helix's element would not understand */
  #take(): HelixReply | undefined {
    const bytes = this.#received;
    if (bytes.length < 12 || bytes.length < 12 + bytes.readUInt32LE(8)) return undefined;
    if (bytes.toString("latin1", 0, 4) !== "HXFR") throw new Error("a reply has another magic");
    const size = 12 + bytes.readUInt32LE(8);
    this.#received = bytes.subarray(size);
    const session = bytes.readUInt16LE(6);
    switch (bytes[4]) {
      case 0x02:
        return { ...readPacket(bytes.subarray(0, size)), session };
      case 0x11:
        if (size !== 12) throw new Error(`PONG has ${size} bytes`);
        return { type: "pong", session };
      case 0xff: {
        if (size !== 272) throw new Error(`ERROR has ${size} bytes`);
        const text = bytes.toString("utf8", 16, bytes.indexOf(0, 16));
        return { type: "error", session, code: bytes.readInt32LE(12), text };
      }
      default:
        throw new Error(`unexpected reply of type ${bytes[4]}`);
    }
  }
}

function readPacket(bytes: Buffer) {
  const units: Buffer[] = [];
  let at = 36;
  for (let left = bytes.readUInt32LE(32); left > 0; left--) {
    const end = at + 4 + bytes.readUInt32LE(at);
    units.push(bytes.subarray(at + 4, end));
    at = end;
  }
  if (at !== bytes.length) throw new Error(`payload_size is ${bytes.length - 12}, its contents ${at - 12}`);
  const [pts, dts] = [bytes.readBigInt64LE(12), bytes.readBigInt64LE(20)];
  return { type: "packet", pts, dts, key: bytes[28] === 1, units } as const;
}
