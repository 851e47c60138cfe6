/**
 * A guest in TypeScript: the other end of the wire protocol for tests of the relay, message by message.
 *
 * It only sends what a test requests, so that it can also misbehave.
 */
import { type Envelope, encodeMessage, FLUSH_BYTES, type Received } from "../../proto/framing.ts";
import { LIMITS } from "../../proto/limits.ts";
import type { Message, OutgoingMessage } from "../../proto/messages.ts";
import { MessageReader } from "./message-reader.ts";

/** Where the guest's bytes go. */
export type Write = (bytes: Uint8Array) => void;

export class GuestPeer {
  readonly #write: Write;
  readonly #parser = new MessageReader();
  /** Everything received, oldest first. */
  readonly received: Received[] = [];
  epoch: number;
  sequence = 0;

  constructor(write: Write, epoch = 1000) {
    this.#write = write;
    this.epoch = epoch;
  }

  /** Bytes from the relay. */
  push(bytes: Uint8Array): void {
    for (const event of this.#parser.push(bytes)) {
      if (event.kind === "malformed") throw event.error;
      if (event.kind === "message") this.received.push(event);
    }
  }

  hello(windowBytes = LIMITS.HOST_WINDOW_BYTES): void {
    this.#write(FLUSH_BYTES);
    this.sequence = 0;
    const body = {
      versionMin: LIMITS.PROTOCOL_VERSION,
      versionMax: LIMITS.PROTOCOL_VERSION,
      windowBytes,
      software: "test",
    };
    this.raw(encodeMessage({ type: "hello", body }, { epoch: this.epoch, sequence: 0, stream: 0 }));
  }

  send(message: OutgoingMessage): void {
    this.raw(encodeMessage(message, this.nextEnvelope()));
  }

  nextEnvelope(): Envelope {
    this.sequence += 1;
    return { epoch: this.epoch, sequence: this.sequence, stream: 0 };
  }

  raw(bytes: Uint8Array): void {
    this.#write(bytes);
  }

  /** Messages of one type, oldest first. */
  all<T extends Message["type"]>(type: T): Extract<Message, { type: T }>[] {
    return this.received
      .map(({ message }) => message)
      .filter((message): message is Extract<Message, { type: T }> => message.type === type);
  }

  /** Types of everything received, Greetings aside. */
  types(): Message["type"][] {
    return this.received.map(({ message }) => message.type).filter((type) => type !== "greeting");
  }
}
