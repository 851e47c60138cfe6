/**
 * A hostile guest's end of a link: messages that are well-formed, at the speed at which they are taken. It reads no more of
 * the answers than whether its session is over; then it opens another.
 */
import { createServer, type Socket } from "node:net";
import { encodeMessage } from "../../../proto/framing.ts";
import { LIMITS } from "../../../proto/limits.ts";
import type { OutgoingMessage } from "../../../proto/messages.ts";
import { vsockenc } from "../../../proto/protobuf.ts";
import { MessageReader } from "../../support/message-reader.ts";
import { SIZE } from "./target.ts";

/** What an attacker has sent. */
export interface Tally {
  bytes: number;
}

/** Bytes of one write: several, so that the attacker's own work for a message stays small. */
const PIECE_BYTES = 32 * 1024;
/** After so many writes without a wait, what has arrived is read. */
const WRITES = 16;

/** Writes what `next` returns for as long as the socket lives, and as fast as its peer takes it. */
export function pour(socket: Socket, tally: Tally, next: () => Uint8Array): void {
  const fill = (): void => {
    for (let writes = 0; !socket.destroyed; writes += 1) {
      if (writes === WRITES) return void setImmediate(fill);
      const piece = next();
      tally.bytes += piece.length;
      if (!socket.write(piece)) return void socket.once("drain", fill);
    }
  };
  fill();
}

/** Serves a chardev as QEMU does, and calls `onConnection` for each connection of the relay. */
export function listenAsQemu(path: string, onConnection: (socket: Socket) => void): void {
  createServer((socket) => {
    socket.on("error", () => undefined);
    onConnection(socket);
  }).listen(path);
}

/** Writes messages into one session after the other. */
export class Assailant {
  #epoch = 1 + Math.floor(Math.random() * 2 ** 31);
  #sequence = 0;
  #open = false;

  /** @param socket of a link; without one, sessions are never found to be over */
  constructor(socket?: Socket) {
    const reader = new MessageReader();
    socket?.on("data", (chunk) => {
      for (const event of reader.push(chunk)) {
        if (event.kind !== "message") continue;
        const { message, envelope } = event;
        const isOver = message.type === "bye" || (message.type === "error" && message.body.fatal);
        // A Greeting comes while there is no session.
        if (message.type === "greeting" || (isOver && envelope.epoch === this.#epoch)) this.#open = false;
      }
    });
  }

  /** Opens a session, which replaces the one before. */
  hello(software = "hostile"): Buffer {
    this.#epoch += 1;
    this.#sequence = -1;
    this.#open = true;
    const { PROTOCOL_VERSION: version, HOST_WINDOW_BYTES: windowBytes } = LIMITS;
    return this.message({
      type: "hello",
      body: { versionMin: version, versionMax: version, windowBytes, software },
    });
  }

  message(message: OutgoingMessage): Buffer {
    this.#sequence += 1;
    return encodeMessage(message, { epoch: this.#epoch, sequence: this.#sequence, stream: 0 });
  }

  /** Messages of the session, or of a new one whose first are `opening`. */
  piece(next: () => OutgoingMessage, opening: readonly OutgoingMessage[] = []): Buffer {
    const parts: Buffer[] = [];
    if (!this.#open) parts.push(this.hello(), ...opening.map((message) => this.message(message)));
    let bytes = 0;
    while (bytes < PIECE_BYTES) {
      const part = this.message(next());
      bytes += part.length;
      parts.push(part);
    }
    return Buffer.concat(parts);
  }
}

/** A valid Configure. */
export function configure(serial: number, { width, height } = SIZE): OutgoingMessage {
  const rate = { framerateNumerator: 30, framerateDenominator: 1, bitrateKbps: 8000 };
  return { type: "configure", body: { serial, codec: vsockenc.Codec.H264, width, height, ...rate } };
}
