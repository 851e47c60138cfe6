/**
 * A connection between two processes of ours, such as the relay and a worker: messages as JSON, each with bytes and at most
 * one descriptor.
 *
 * A message is its JSON's length and its bytes' length (4 bytes each, little-endian), then both. A descriptor comes with a
 * message's first byte. Each message is checked against a schema: a worker, say, is exposed to a guest.
 */
import { errorText } from "../../common/error-text.ts";
import { FdSocket } from "./fd-socket.ts";
import { closeDescriptor } from "./os-addon.ts";

/** The peer sent something that is not a message, or too much; a defect, or a worker that a guest has taken over. */
export class ChannelError extends Error {
  override readonly name = "ChannelError";
}

const HEAD_BYTES = 8;
/** Metrics of a VM are the longest text. */
export const CHANNEL_TEXT_BYTES = 1 << 20;
/** An access unit, or a pointer's image. */
const MAX_BYTES = 32 << 20;
const MAX_QUEUED_BYTES = 2 * MAX_BYTES;
const MAX_DESCRIPTORS = 256;
const RECEIVE_BYTES = 1 << 18;
/** Receptions for one report, so that one busy worker does not delay the others. */
const RECEIVES_PER_TURN = 4;

const NOTHING = new Uint8Array(0);

export interface Incoming<Message> {
  readonly message: Message;
  readonly bytes: Buffer;
  /** The receiver's own. */
  readonly descriptor: number | undefined;
}

/** A schema of zod, or what takes its place. */
export interface MessageSchema<Message> {
  safeParse(
    message: unknown,
  ): { readonly success: true; readonly data: Message } | { readonly success: false; readonly error: Error };
}

export interface ChannelEvents<Message> {
  onMessage(incoming: Incoming<Message>): void;
  /** The connection is over; `error` is the reason unless one side simply closed it. Called once. */
  onClose(error?: Error): void;
}

/** @throws ChannelError, SyntaxError */
export function parseMessage<Message>(text: Buffer, schema: MessageSchema<Message>): Message {
  const parsed = schema.safeParse(JSON.parse(text.toString()));
  if (parsed.success) return parsed.data;
  throw new ChannelError(`an invalid message: ${parsed.error.message}`);
}

/** Cuts received bytes into messages. */
export class MessageCutter {
  readonly #maxBytes: number;
  readonly #pending: Buffer[] = [];
  #pendingBytes = 0;
  #wantedBytes = HEAD_BYTES;

  /** @param maxBytes of a message, besides its text */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /**
   * Takes the messages that are complete with these bytes, which are copied.
   *
   * @throws ChannelError
   */
  *add(chunk: Buffer): Generator<{ readonly text: Buffer; readonly bytes: Buffer }> {
    this.#pending.push(Buffer.from(chunk));
    this.#pendingBytes += chunk.length;
    if (this.#pendingBytes < this.#wantedBytes) return;
    const input = Buffer.concat(this.#pending.splice(0));
    let at = 0;
    for (;;) {
      this.#wantedBytes = HEAD_BYTES;
      if (input.length - at < HEAD_BYTES) break;
      const textBytes = input.readUInt32LE(at);
      const byteCount = input.readUInt32LE(at + 4);
      if (textBytes > CHANNEL_TEXT_BYTES || byteCount > this.#maxBytes) {
        throw new ChannelError(`a message of ${textBytes} and ${byteCount} bytes`);
      }
      this.#wantedBytes = HEAD_BYTES + textBytes + byteCount;
      if (input.length - at < this.#wantedBytes) break;
      const text = input.subarray(at + HEAD_BYTES, at + HEAD_BYTES + textBytes);
      const bytes = input.subarray(at + HEAD_BYTES + textBytes, at + this.#wantedBytes);
      at += this.#wantedBytes;
      yield { text, bytes };
    }
    if (at < input.length) this.#pending.push(input.subarray(at));
    this.#pendingBytes = input.length - at;
  }
}

export class Channel<Received extends object, Sent> {
  readonly #socket: FdSocket;
  readonly #schema: MessageSchema<Received>;
  readonly #events: ChannelEvents<Received>;
  readonly #cutter: MessageCutter;
  readonly #buffer = Buffer.allocUnsafe(RECEIVE_BYTES);
  readonly #descriptors: number[] = [];

  /**
   * Takes a connected socket over.
   *
   * @param maxBytes of a received message, besides its text
   */
  constructor(
    fd: number,
    schema: MessageSchema<Received>,
    events: ChannelEvents<Received>,
    maxBytes: number = MAX_BYTES,
  ) {
    this.#cutter = new MessageCutter(maxBytes);
    this.#schema = schema;
    this.#events = events;
    this.#socket = new FdSocket(
      fd,
      {
        onReadable: () => this.#receive(),
        onClose: (error) => {
          this.#descriptors.splice(0).forEach(closeDescriptor);
          events.onClose(error);
        },
      },
      MAX_QUEUED_BYTES,
    );
  }

  /** Bytes that the peer has not taken yet. */
  get queuedBytes(): number {
    return this.#socket.queuedBytes;
  }

  /** @param descriptor stays the caller's; the message says `descriptor: true` */
  send(message: Sent, bytes: Uint8Array = NOTHING, descriptor?: number): void {
    const text = Buffer.from(JSON.stringify(message));
    const head = Buffer.allocUnsafe(HEAD_BYTES);
    head.writeUInt32LE(text.length, 0);
    head.writeUInt32LE(bytes.length, 4);
    this.#socket.send(Buffer.concat([head, text]), descriptor === undefined ? [] : [descriptor]);
    this.#socket.send(bytes);
  }

  close(error?: Error): void {
    this.#socket.close(error);
  }

  #receive(): void {
    try {
      for (let turn = 0; turn < RECEIVES_PER_TURN; turn++) {
        const received = this.#socket.receive(this.#buffer, 0, RECEIVE_BYTES);
        if (received.kind === "nothing") return;
        if (received.kind === "end") {
          this.#socket.close();
          return;
        }
        this.#descriptors.push(...received.descriptors);
        if (this.#descriptors.length > MAX_DESCRIPTORS) throw new ChannelError("too many descriptors");
        for (const { text, bytes } of this.#cutter.add(this.#buffer.subarray(0, received.count))) {
          this.#deliver(text, bytes);
          if (this.#socket.closed) return;
        }
      }
    } catch (error) {
      this.#socket.close(error instanceof Error ? error : new ChannelError(errorText(error)));
    }
  }

  #deliver(text: Buffer, bytes: Buffer): void {
    const message = parseMessage(text, this.#schema);
    const withDescriptor = "descriptor" in message && message.descriptor === true;
    const descriptor = withDescriptor ? this.#descriptors.shift() : undefined;
    if (withDescriptor && descriptor === undefined) {
      throw new ChannelError("a message without its descriptor");
    }
    this.#events.onMessage({ message, bytes, descriptor });
  }
}
