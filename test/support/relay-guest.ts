/**
 * A guest for tests of the whole relay: what GuestPeer does, and the requests of an ordinary stream of small BGRx
 * pictures.
 */
import { connect, type Socket } from "node:net";
import { fourcc } from "../../proto/formats.ts";
import { encodeDataHead, encodeMessage, MAX_DATA_BYTES } from "../../proto/framing.ts";
import { LIMITS } from "../../proto/limits.ts";
import type { Message } from "../../proto/messages.ts";
import { vsockenc } from "../../proto/protobuf.ts";
import { GuestPeer, type Write } from "./guest-peer.ts";
import { until } from "./until.ts";

export const WIDTH = 320;
export const HEIGHT = 240;
export const PICTURE_BYTES = WIDTH * HEIGHT * 4;
export const XR24 = fourcc("XR24");

/** Polls from one Hello to the next. */
const HELLO_POLLS = 50;

let nextEpoch = 1000;

export class RelayGuest extends GuestPeer {
  /** Bytes of bulk messages sent. */
  #bulk = 0;

  constructor(write: Write) {
    super(write, nextEpoch++);
  }

  /** Opens sessions until one of them has what is wanted. */
  async open(resources = true): Promise<void> {
    await until(
      async () => {
        this.epoch = nextEpoch++;
        this.#bulk = 0;
        const before = this.all("welcome").length;
        let polls = 0;
        await until(() => {
          // Again now and then, as a guest does: a relay opens few sessions a second.
          if (polls++ % HELLO_POLLS === 0) this.hello();
          return this.all("welcome").length > before;
        }, "Welcome");
        return this.all("welcome").at(-1)?.body.resources === resources;
      },
      `a session ${resources ? "with" : "without"} resources`,
    );
  }

  /** Settles with the newest message of a type, once there are `count`. */
  async next<T extends Message["type"]>(type: T, count = this.all(type).length + 1) {
    await until(
      () => this.all(type).length >= count,
      `${count} × ${type}; there are ${this.types().slice(-9)}`,
    );
    const message = this.all(type)[count - 1];
    if (message === undefined) throw new Error("unreachable");
    return message;
  }

  attach(buffer: number, resource: number, stride = WIDTH * 4): void {
    const planes = [{ resource, stride }];
    this.send({ type: "attach", body: { buffer, width: WIDTH, height: HEIGHT, fourcc: XR24, planes } });
  }

  configure(serial: number, change: Partial<vsockenc.Configure> = {}): void {
    const rate = { framerateNumerator: 30, framerateDenominator: 1, bitrateKbps: 1000 };
    const size = { width: WIDTH, height: HEIGHT };
    this.send({
      type: "configure",
      body: { serial, codec: vsockenc.Codec.H264, ...size, ...rate, ...change },
    });
  }

  /** Sends a frame of an inline buffer with its pixels, as far as the relay's credit goes, and waits for more. */
  async inlineFrame(frame: number, buffer: number, pixels: Uint8Array): Promise<void> {
    this.frame(frame, buffer, { inlineBytes: pixels.length });
    for (let offset = 0; offset < pixels.length; offset += MAX_DATA_BYTES) {
      await this.data(frame, offset, pixels.subarray(offset, offset + MAX_DATA_BYTES));
    }
  }

  /** Sends Data when there is credit for it. */
  async data(frame: number, offset: number, piece: Uint8Array): Promise<void> {
    const bytes = LIMITS.HEADER_BYTES + LIMITS.DATA_PREFIX_BYTES + piece.length;
    const granted = (): number => this.all("credit").at(-1)?.body.grantedBytes ?? LIMITS.GUEST_WINDOW_BYTES;
    await until(() => this.#bulk + bytes <= granted() || this.all("error").length > 0, "credit");
    this.#bulk += bytes;
    this.raw(Buffer.concat([encodeDataHead(frame, offset, piece, this.nextEnvelope()), piece]));
  }

  frame(frame: number, buffer: number, change: Partial<vsockenc.Frame> = {}): void {
    const ptsNs = frame * 33_333_333;
    const message = { type: "frame", body: { frame, buffer, configuration: 1, ptsNs, ...change } } as const;
    const bytes = encodeMessage(message, this.nextEnvelope());
    this.#bulk += bytes.length;
    this.raw(bytes);
  }
}

/** A guest at the other end of a socket on which the relay listens. It answers Pings, so it may be as slow as its machine. */
export class ConnectedGuest extends RelayGuest {
  readonly socket: Socket;
  closed = false;

  constructor(where: string | number) {
    const socket =
      typeof where === "string" ? connect({ path: where }) : connect({ port: where, host: "127.0.0.1" });
    super((bytes) => void socket.write(bytes));
    this.socket = socket;
    socket.on("data", (chunk) => {
      const seen = this.all("ping").length;
      this.push(chunk);
      for (const { body } of this.all("ping").slice(seen)) this.send({ type: "pong", body });
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.closed = true;
    });
  }
}
