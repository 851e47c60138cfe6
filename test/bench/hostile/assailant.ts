/**
 * A hostile guest's end of a link: messages that are well-formed, at the speed at which they are taken. It reads no more of
 * the answers than whether its session is over; then it opens another.
 */
import { createServer, type Socket } from "node:net";
import { encodeMessage } from "../../../proto/framing.ts";
import { LIMITS } from "../../../proto/limits.ts";
import type { Message, OutgoingMessage } from "../../../proto/messages.ts";
import { vsockenc } from "../../../proto/protobuf.ts";
import { MessageReader } from "../../support/message-reader.ts";
import { SIZE } from "./target.ts";

/** What an attacker has sent, and how many messages it got for that. */
export interface Tally {
  bytes: number;
  answers: number;
}

/** Bytes of one write: several, so that the attacker's own work for a message stays small. */
const PIECE_BYTES = 32 * 1024;
/** Below MAX_WAITING_MESSAGES of the relay, where a request has two messages. */
const UNANSWERED = 64;
/** One of them answers a request. */
const ANSWERS: readonly Message["type"][] = ["attached", "probed", "configured", "error"];
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

interface Requests {
  /** Sent once in each session. */
  readonly opening?: readonly OutgoingMessage[];
  /** Whether they need the VM's exporter, which its worker may not have found yet. */
  readonly resources: boolean;
  /** A request that is answered once; it may have several messages. */
  next(): readonly OutgoingMessage[];
}

/**
 * Keeps requests with the relay that it works at for long, some of which are unanswered at any time: more at once would end
 * the session.
 */
export function ask(socket: Socket, tally: Tally, { opening = [], resources, next }: Requests): void {
  let unanswered = 0;
  let ready = false;
  const write = (...pieces: readonly Buffer[]): void => {
    for (const { length } of pieces) tally.bytes += length;
    if (pieces.length > 0) socket.write(Buffer.concat(pieces));
  };
  const assailant = new Assailant(socket, tally, (message) => {
    if (ANSWERS.includes(message.type)) unanswered -= 1;
    if (message.type !== "welcome") return;
    ready = !resources || message.body.resources;
    if (ready) write(...opening.map((each) => assailant.message(each)));
    unanswered = opening.length;
  });
  const fill = (): void => {
    if (socket.destroyed || !ready || !assailant.isOpen) return;
    const pieces: Buffer[] = [];
    for (; unanswered < UNANSWERED; unanswered += 1) {
      pieces.push(...next().map((each) => assailant.message(each)));
    }
    write(...pieces);
  };
  const open = (): void => {
    if (ready && assailant.isOpen && !assailant.isSilent()) return;
    ready = false;
    write(assailant.hello());
  };
  socket.on("data", fill);
  const again = setInterval(open, LIMITS.HELLO_INTERVAL_MS);
  socket.on("close", () => clearInterval(again));
  open();
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
  #received = 0;
  #looked = 0;

  /**
   * @param socket of a link; without one, sessions are never found to be over
   * @param onMessage gets what belongs to the present session
   */
  constructor(socket?: Socket, tally?: Tally, onMessage: (message: Message) => void = () => undefined) {
    const reader = new MessageReader();
    socket?.on("data", (chunk) => {
      this.#received += chunk.length;
      for (const event of reader.push(chunk)) {
        if (event.kind !== "message") continue;
        const { message, envelope } = event;
        const isOwn = envelope.epoch === this.#epoch;
        const isOver = message.type === "bye" || (message.type === "error" && message.body.fatal);
        // A Greeting comes while there is no session.
        if (message.type === "greeting" || (isOver && isOwn)) this.#open = false;
        else if (isOwn) {
          if (tally !== undefined) tally.answers += 1;
          onMessage(message);
        }
      }
    });
  }

  /** Whether its session is open, as far as it knows. */
  get isOpen(): boolean {
    return this.#open;
  }

  /** Whether nothing has been received since the last call. */
  isSilent(): boolean {
    const silent = this.#looked === this.#received;
    this.#looked = this.#received;
    return silent;
  }

  /** Takes its session for lost. */
  forget(): void {
    this.#open = false;
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
