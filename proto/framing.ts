/**
 * Framing of the wire protocol (PROTOCOL.md, "Framing"): headers out, messages in.
 *
 * The receiver trusts nothing before it has checked the CRC. If the bytes at a magic are not a message, it skips one byte
 * and searches for the next magic. So it resynchronises after half a message, a predecessor's leftovers, or noise.
 */
import { crc32 } from "node:zlib";
import { HEADER_OFFSET, LIMITS } from "./limits.ts";
import {
  decodeBody,
  encodeBody,
  type Message,
  MessageFormatError,
  messageId,
  type OutgoingMessage,
} from "./messages.ts";

/** The header's fields besides type and length. */
export interface Envelope {
  readonly epoch: number;
  readonly sequence: number;
  readonly stream: number;
}

const { HEADER_BYTES, MAX_MESSAGE_BYTES, DATA_PREFIX_BYTES } = LIMITS;
const MAX_BODY_BYTES = MAX_MESSAGE_BYTES - HEADER_BYTES;

/** Bytes of an access unit that fit into one Data message. */
export const MAX_DATA_BYTES = MAX_BODY_BYTES - DATA_PREFIX_BYTES;

/** NUL bytes to write ahead of an opening (PROTOCOL.md, "Opening"). */
export const FLUSH_BYTES: Buffer = Buffer.alloc(LIMITS.FLUSH_NULS);

const MAGIC_BYTES = Buffer.alloc(4);
MAGIC_BYTES.writeUInt32LE(LIMITS.MAGIC);

function writeHeader(target: Buffer, type: number, envelope: Envelope, length: number): void {
  target.writeUInt32LE(LIMITS.MAGIC, HEADER_OFFSET.magic);
  target[HEADER_OFFSET.version] = LIMITS.PROTOCOL_VERSION;
  target[HEADER_OFFSET.type] = type;
  target[HEADER_OFFSET.flags] = 0;
  target[HEADER_OFFSET.stream] = envelope.stream;
  target.writeUInt32LE(envelope.epoch, HEADER_OFFSET.epoch);
  target.writeUInt32LE(envelope.sequence, HEADER_OFFSET.sequence);
  target.writeUInt32LE(length, HEADER_OFFSET.length);
  target.writeUInt32LE(0, HEADER_OFFSET.crc);
}

/**
 * A protobuf message, ready to be written.
 *
 * @throws MessageFormatError if it would exceed MAX_MESSAGE_BYTES.
 */
export function encodeMessage(message: OutgoingMessage, envelope: Envelope): Buffer {
  const body = encodeBody(message);
  if (body.length > MAX_BODY_BYTES) {
    throw new MessageFormatError(`${message.type}: ${body.length} bytes, limit ${MAX_BODY_BYTES}`);
  }
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + body.length);
  writeHeader(bytes, messageId(message.type), envelope, body.length);
  bytes.set(body, HEADER_BYTES);
  bytes.writeUInt32LE(crc32(bytes), HEADER_OFFSET.crc);
  return bytes;
}

/**
 * The head of a Data message; the caller writes `bytes` behind it, uncopied.
 *
 * @param bytes at most MAX_DATA_BYTES of the access unit
 * @param offset where in the access unit they begin
 */
export function encodeDataHead(frame: number, offset: number, bytes: Uint8Array, envelope: Envelope): Buffer {
  const head = Buffer.allocUnsafe(HEADER_BYTES + DATA_PREFIX_BYTES);
  writeHeader(head, messageId("data"), envelope, DATA_PREFIX_BYTES + bytes.length);
  head.writeUInt32LE(frame, HEADER_BYTES);
  head.writeUInt32LE(offset, HEADER_BYTES + 4);
  head.writeUInt32LE(crc32(bytes, crc32(head)), HEADER_OFFSET.crc);
  return head;
}

/** A message as it was received. */
export interface Received {
  readonly envelope: Envelope;
  readonly message: Message;
  /** Header and body, as they count against credits. */
  readonly bytes: number;
}

/** A message, one of a type that only a later version knows, or one that is complete but malformed. */
export type ParserEvent =
  | ({ readonly kind: "message" } & Received)
  | { readonly kind: "unknown"; readonly envelope: Envelope }
  | { readonly kind: "malformed"; readonly envelope: Envelope; readonly error: MessageFormatError };

/** Finds messages in a byte stream that arrives in pieces. Holds at most one message's bytes. */
export class MessageParser {
  #pending: Buffer = Buffer.alloc(0);
  #skippedBytes = 0;

  /** Bytes so far that were not part of a message, NULs included. */
  get skippedBytes(): number {
    return this.#skippedBytes;
  }

  /** Takes the next piece and yields what it completes. The events' bytes are views of `chunk`'s memory. */
  *push(chunk: Buffer): Generator<ParserEvent, void, void> {
    const input = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    let at = 0;
    try {
      for (;;) {
        const start = this.#findMagic(input, at);
        this.#skippedBytes += start - at;
        at = start;
        const total = this.#messageBytes(input, at);
        if (total === "incomplete") return;
        if (total === "impossible") {
          at += 1;
          this.#skippedBytes += 1;
          continue;
        }
        const event = this.#read(input, at, total);
        at += total;
        yield event;
      }
    } finally {
      // Copied, so that a few bytes do not keep a large chunk alive or change when the caller reuses it.
      this.#pending = Buffer.from(input.subarray(at));
    }
  }

  /** Forgets half a message, because the stream starts again. */
  reset(): void {
    this.#pending = Buffer.alloc(0);
  }

  /** Where the next header may begin: at a magic, or at a tail that is the start of one. */
  #findMagic(input: Buffer, from: number): number {
    const found = input.indexOf(MAGIC_BYTES, from);
    if (found !== -1) return found;
    for (let length = Math.min(MAGIC_BYTES.length - 1, input.length - from); length > 0; length--) {
      if (input.subarray(input.length - length).equals(MAGIC_BYTES.subarray(0, length))) {
        return input.length - length;
      }
    }
    return input.length;
  }

  /** Length of the message at `at`, CRC checked. */
  #messageBytes(input: Buffer, at: number): number | "incomplete" | "impossible" {
    if (input.length - at < HEADER_BYTES) return "incomplete";
    const version = input[at + HEADER_OFFSET.version];
    const length = input.readUInt32LE(at + HEADER_OFFSET.length);
    if (version !== LIMITS.PROTOCOL_VERSION || length > MAX_BODY_BYTES) return "impossible";
    const total = HEADER_BYTES + length;
    if (input.length - at < total) return "incomplete";
    const head = Buffer.from(input.subarray(at, at + HEADER_BYTES));
    head.writeUInt32LE(0, HEADER_OFFSET.crc);
    const crc = crc32(input.subarray(at + HEADER_BYTES, at + total), crc32(head));
    return crc === input.readUInt32LE(at + HEADER_OFFSET.crc) ? total : "impossible";
  }

  #read(input: Buffer, at: number, total: number): ParserEvent {
    const envelope: Envelope = {
      stream: input[at + HEADER_OFFSET.stream] ?? 0,
      epoch: input.readUInt32LE(at + HEADER_OFFSET.epoch),
      sequence: input.readUInt32LE(at + HEADER_OFFSET.sequence),
    };
    try {
      const message = decodeBody(
        input[at + HEADER_OFFSET.type] ?? 0,
        input.subarray(at + HEADER_BYTES, at + total),
      );
      if (message === undefined) return { kind: "unknown", envelope };
      return { kind: "message", envelope, message, bytes: total };
    } catch (error) {
      if (error instanceof MessageFormatError) return { kind: "malformed", envelope, error };
      throw error;
    }
  }
}
