/**
 * Framing of the wire protocol (PROTOCOL.md, "Framing"): headers out, messages in.
 *
 * The receiver trusts nothing before it has checked the CRC. If the bytes at a magic are not a message, it skips one byte
 * and searches for the next magic. So it resynchronises after half a message, a predecessor's leftovers, or noise.
 */
import { crc32 } from "node:zlib";
import type { ByteQueue } from "./byte-queue.ts";
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

/** A message, one of a type that only a later version knows, one that is complete but malformed, or bytes that are none. */
export type ParserEvent =
  | ({ readonly kind: "message" } & Received)
  | { readonly kind: "unknown"; readonly envelope: Envelope }
  | { readonly kind: "malformed"; readonly envelope: Envelope; readonly error: MessageFormatError }
  | { readonly kind: "noise"; readonly bytes: number };

/**
 * Takes the next message from a byte stream, or some bytes ahead of it that are none, NULs included.
 *
 * @returns undefined until there are more bytes. Its bytes are views of those in `input`.
 */
export function takeMessage(input: ByteQueue): ParserEvent | undefined {
  const { bytes } = input;
  const start = findMagic(bytes);
  if (start > 0) return takeNoise(input, start);
  const total = messageBytes(bytes);
  if (total === "incomplete") return undefined;
  if (total === "impossible") return takeNoise(input, 1);
  input.drop(total);
  return readMessage(bytes.subarray(0, total));
}

function takeNoise(input: ByteQueue, bytes: number): ParserEvent {
  input.drop(bytes);
  return { kind: "noise", bytes };
}

/** Where the next header may begin: at a magic, or at a tail that is the start of one. */
function findMagic(bytes: Buffer): number {
  const found = bytes.indexOf(MAGIC_BYTES);
  if (found !== -1) return found;
  for (let length = Math.min(MAGIC_BYTES.length - 1, bytes.length); length > 0; length--) {
    if (bytes.subarray(bytes.length - length).equals(MAGIC_BYTES.subarray(0, length))) {
      return bytes.length - length;
    }
  }
  return bytes.length;
}

/** Length of the message at the front, CRC checked. */
function messageBytes(bytes: Buffer): number | "incomplete" | "impossible" {
  if (bytes.length < HEADER_BYTES) return "incomplete";
  const length = bytes.readUInt32LE(HEADER_OFFSET.length);
  if (bytes[HEADER_OFFSET.version] !== LIMITS.PROTOCOL_VERSION || length > MAX_BODY_BYTES) {
    return "impossible";
  }
  const total = HEADER_BYTES + length;
  if (bytes.length < total) return "incomplete";
  const head = Buffer.from(bytes.subarray(0, HEADER_BYTES));
  head.writeUInt32LE(0, HEADER_OFFSET.crc);
  const crc = crc32(bytes.subarray(HEADER_BYTES, total), crc32(head));
  return crc === bytes.readUInt32LE(HEADER_OFFSET.crc) ? total : "impossible";
}

function readMessage(bytes: Buffer): ParserEvent {
  const envelope: Envelope = {
    stream: bytes[HEADER_OFFSET.stream] ?? 0,
    epoch: bytes.readUInt32LE(HEADER_OFFSET.epoch),
    sequence: bytes.readUInt32LE(HEADER_OFFSET.sequence),
  };
  try {
    const message = decodeBody(bytes[HEADER_OFFSET.type] ?? 0, bytes.subarray(HEADER_BYTES));
    if (message === undefined) return { kind: "unknown", envelope };
    return { kind: "message", envelope, message, bytes: bytes.length };
  } catch (error) {
    if (error instanceof MessageFormatError) return { kind: "malformed", envelope, error };
    throw error;
  }
}
