/**
 * A guest that is fast enough to measure a relay: it does only what the element does on the wire.
 *
 * It listens in place of QEMU's chardev, so the relay connects to it as to a VM. It checks neither CRC nor order (tests of
 * the relay do), so its own work stays small; a message's time is that at which its bytes arrive.
 */
import { createServer, type Server, type Socket } from "node:net";
import { fourcc } from "../../../proto/formats.ts";
import { encodeMessage } from "../../../proto/framing.ts";
import { HEADER_OFFSET, LIMITS } from "../../../proto/limits.ts";
import { decodeBody, type Message, messageId, type OutgoingMessage } from "../../../proto/messages.ts";
import { vsockenc } from "../../../proto/protobuf.ts";
import { until } from "../../support/until.ts";
import { BLOCK_FRAMES } from "../case.ts";
import type { Exchange } from "./echo-client.ts";

const XR24 = fourcc("XR24");
const FRAME_NS = 16_666_667;
/** Larger than any run's packets, so it never sends Credit; the relay's limit of unsent bytes remains. */
const ENDLESS_WINDOW = 0xffffffff;
const PING_MS = 1000;
/** A key frame in every block of a comparison, so that blocks are alike. */
export const KEYFRAME_INTERVAL = BLOCK_FRAMES;
const { HEADER_BYTES } = LIMITS;
const DATA = messageId("data");

export interface StreamSize {
  readonly width: number;
  readonly height: number;
}

/** A frame with all of its answers. */
export interface Answered {
  readonly key: boolean;
  /** From the write of Frame to the last byte of its access unit. */
  readonly microseconds: number;
}

interface Open {
  readonly epoch: number;
  sequence: number;
  /** Frames in flight: when they were sent. */
  readonly sent: Map<number, number>;
  /** The Packet whose Data is arriving. */
  packet: { readonly frame: number; readonly key: boolean; left: number } | undefined;
  readonly ping: NodeJS.Timeout;
}

export class BenchGuest {
  onAnswered: (answered: Answered) => void = () => {};
  /** Control messages of the current epoch, newest last; cleared by open(). */
  readonly received: Exclude<Message, { type: "data" }>[] = [];
  #lastFrame: Buffer = Buffer.alloc(0);
  #received: Buffer[] = [];
  readonly #server: Server;
  #buffers = 0;
  #socket: Socket | undefined;
  #open: Open | undefined;
  #pending: Buffer = Buffer.alloc(0);
  #epochs = 0;
  #nextFrame = 0;
  #closed = false;

  constructor(path: string) {
    this.#server = createServer((socket) => this.#accept(socket)).listen(path);
  }

  get connected(): boolean {
    return this.#socket !== undefined;
  }

  get inFlight(): number {
    return this.#open?.sent.size ?? 0;
  }

  /** Opens a session, configures a stream of this size and attaches `resources` as buffers 0, 1, … */
  async open(size: StreamSize, resources: readonly number[]): Promise<void> {
    await until(() => this.connected, "the relay's connection");
    await this.#hello();
    this.send({
      type: "configure",
      body: {
        ...{ serial: 1, codec: vsockenc.Codec.H264, ...size, bitrateKbps: 8000 },
        ...{ keyframeInterval: KEYFRAME_INTERVAL, framerateNumerator: 60, framerateDenominator: 1 },
      },
    });
    for (const [buffer, resource] of resources.entries()) {
      const planes = [{ resource, stride: size.width * 4 }];
      this.send({ type: "attach", body: { buffer, ...size, fourcc: XR24, planes } });
    }
    this.#buffers = resources.length;
    await until(() => this.#count("configured") === 1, "Configured");
    await until(() => this.#count("attached") === resources.length, "Attached");
  }

  /** Sends the next frame, of the buffers in rotation. */
  sendFrame(): void {
    const frame = this.#nextFrame++;
    const body = { frame, buffer: frame % this.#buffers, configuration: 1, ptsNs: frame * FRAME_NS };
    this.#lastFrame = this.#encode({ type: "frame", body: { ...body, durationNs: FRAME_NS } });
    this.#received = [];
    this.#opened().sent.set(frame, performance.now());
    this.#socket?.write(this.#lastFrame);
  }

  send(message: OutgoingMessage): void {
    this.#socket?.write(this.#encode(message));
  }

  /** Wire bytes of the last Frame, and of everything received since. */
  lastExchange(): Exchange {
    return { request: this.#lastFrame, answer: Buffer.concat(this.#received) };
  }

  close(): void {
    this.#closed = true;
    this.#forget();
    this.#socket?.destroy();
    this.#server.close();
  }

  async #hello(): Promise<void> {
    const hello = (): Buffer => {
      this.#forget();
      this.#epochs += 1;
      const epoch = this.#epochs;
      this.#nextFrame = 0;
      const ping = setInterval(() => this.send({ type: "ping", body: {} }), PING_MS);
      this.#open = { epoch, sequence: 0, sent: new Map(), packet: undefined, ping };
      const body = {
        versionMin: LIMITS.PROTOCOL_VERSION,
        versionMax: LIMITS.PROTOCOL_VERSION,
        windowBytes: ENDLESS_WINDOW,
        software: "bench",
      };
      return encodeMessage({ type: "hello", body }, { epoch, sequence: 0, stream: 0 });
    };
    // The relay may not have found its exporter yet, which Welcome reports.
    await until(async () => {
      this.#socket?.write(hello());
      // Again after a while, as a guest does: a relay opens few sessions a second.
      const again = performance.now() + LIMITS.HELLO_INTERVAL_MS;
      await until(() => this.#count("welcome") > 0 || performance.now() > again, "Welcome");
      return this.received.some(({ type, body }) => type === "welcome" && body.resources);
    }, "a session with resources");
  }

  #encode(message: OutgoingMessage): Buffer {
    const open = this.#opened();
    open.sequence += 1;
    return encodeMessage(message, { epoch: open.epoch, sequence: open.sequence, stream: 0 });
  }

  #opened(): Open {
    if (this.#open === undefined) throw new Error("the guest has no session");
    return this.#open;
  }

  #count(type: Message["type"]): number {
    const refusal = this.received.find((message) => message.type === "error");
    if (refusal?.type === "error") throw new Error(`the relay rejected a message: ${refusal.body.text}`);
    return this.received.filter((message) => message.type === type).length;
  }

  #forget(): void {
    clearInterval(this.#open?.ping);
    this.#open = undefined;
    this.received.length = 0;
  }

  #accept(socket: Socket): void {
    this.#socket = socket;
    this.#pending = Buffer.alloc(0);
    socket.on("data", (chunk) => this.#receive(chunk));
    socket.on("error", () => undefined); // "close" follows
    socket.on("close", () => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      if (!this.#closed) this.#forget();
    });
  }

  #receive(chunk: Buffer): void {
    const now = performance.now();
    this.#received.push(chunk);
    const input = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    let at = 0;
    while (input.length - at >= HEADER_BYTES) {
      if (input.readUInt32LE(at) !== LIMITS.MAGIC) {
        at += 1;
        continue;
      }
      const end = at + HEADER_BYTES + input.readUInt16LE(at + HEADER_OFFSET.length);
      if (end > input.length) break;
      if (input.readUInt32LE(at + HEADER_OFFSET.epoch) === this.#open?.epoch) {
        const type = input[at + HEADER_OFFSET.type] ?? 0;
        this.#take(type, input.subarray(at + HEADER_BYTES, end), now);
      }
      at = end;
    }
    this.#pending = input.subarray(at);
  }

  #take(type: number, body: Buffer, now: number): void {
    const open = this.#opened();
    if (type === DATA) {
      const packet = open.packet;
      if (packet === undefined) return;
      packet.left -= body.length - LIMITS.DATA_PREFIX_BYTES;
      if (packet.left > 0) return;
      open.packet = undefined;
      const sent = open.sent.get(packet.frame);
      open.sent.delete(packet.frame);
      if (sent !== undefined) this.onAnswered({ key: packet.key, microseconds: (now - sent) * 1000 });
      return;
    }
    const message = decodeBody(type, body);
    if (message === undefined || message.type === "data") return;
    if (message.type === "packet") {
      // Fields with default values belong to the prototype, so a spread would miss them.
      const { frame, key, size } = message.body;
      open.packet = { frame, key, left: size };
    } else if (!["frameDone", "credit", "pong"].includes(message.type)) this.received.push(message);
  }
}
