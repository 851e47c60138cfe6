/**
 * Framing of the wire protocol (PROTOCOL.md, "Framing"): headers out, messages in.
 *
 * The receiver trusts nothing before it has checked it: the header by its own check, then header and body by the CRC. It
 * skips bytes that are neither, and searches for the next magic. So it resynchronises after half a message, a predecessor's
 * leftovers, or noise. What it hashes is bounded by what it has received: a header for each magic, and a message once.
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
import type { vsockenc } from "./protobuf.ts";

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
const HELLO = messageId("hello");

/** What a header's `check` must be. */
function headerCheck(header: Buffer): number {
  return crc32(header.subarray(0, HEADER_OFFSET.check)) & 0xffff;
}

/** All of a header but `crc`. Versions before the third have no check: there, length is a u32 that ends in its place. */
function writeHeader(
  target: Buffer,
  type: number,
  envelope: Envelope,
  length: number,
  version: number = LIMITS.PROTOCOL_VERSION,
): void {
  target.writeUInt32LE(LIMITS.MAGIC, HEADER_OFFSET.magic);
  target[HEADER_OFFSET.version] = version;
  target[HEADER_OFFSET.type] = type;
  target[HEADER_OFFSET.flags] = 0;
  target[HEADER_OFFSET.stream] = envelope.stream;
  target.writeUInt32LE(envelope.epoch, HEADER_OFFSET.epoch);
  target.writeUInt32LE(envelope.sequence, HEADER_OFFSET.sequence);
  target.writeUInt16LE(length, HEADER_OFFSET.length);
  target.writeUInt16LE(version < LIMITS.PROTOCOL_VERSION ? 0 : headerCheck(target), HEADER_OFFSET.check);
  target.writeUInt32LE(0, HEADER_OFFSET.crc);
}

/**
 * A protobuf message, ready to be written.
 *
 * @param version whose form it has: an older one for a peer that understands no other
 * @throws MessageFormatError if it would exceed MAX_MESSAGE_BYTES.
 */
export function encodeMessage(message: OutgoingMessage, envelope: Envelope, version?: number): Buffer {
  const body = encodeBody(message);
  if (body.length > MAX_BODY_BYTES) {
    throw new MessageFormatError(`${message.type}: ${body.length} bytes, limit ${MAX_BODY_BYTES}`);
  }
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + body.length);
  writeHeader(bytes, messageId(message.type), envelope, body.length, version);
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

/** A Hello in the form of an older version, to be answered in that form. */
export interface OlderHello {
  readonly version: number;
  readonly epoch: number;
  readonly hello: vsockenc.Hello;
}

/**
 * A message, one of a type that only a later version knows, one that is complete but malformed, a Hello of an older version,
 * or bytes that are none.
 */
export type ParserEvent =
  | ({ readonly kind: "message" } & Received)
  | { readonly kind: "unknown"; readonly envelope: Envelope }
  | { readonly kind: "malformed"; readonly envelope: Envelope; readonly error: MessageFormatError }
  | ({ readonly kind: "older" } & OlderHello)
  | { readonly kind: "noise"; readonly bytes: number };

/**
 * Takes the next message from a byte stream, or some bytes ahead of it that are none, NULs included.
 *
 * @returns undefined until there are more bytes. Its bytes are views of those in `input`.
 */
export function takeMessage(input: ByteQueue): ParserEvent | undefined {
  if (input.length < input.awaited) return undefined;
  const { bytes } = input;
  const start = findMagic(bytes);
  if (start > 0) return takeNoise(input, start);
  if (bytes.length < HEADER_BYTES) return undefined;
  const total = announcedBytes(bytes);
  if (total === undefined) return takeNoise(input, 1);
  if (bytes.length < total) {
    input.await(total);
    return undefined;
  }
  const message = bytes.subarray(0, total);
  // As a whole: messages within a false one could be false as well, and each byte would be hashed again for each of them.
  if (!hasCrc(message)) return takeNoise(input, total);
  const event = readMessage(message);
  if (event === undefined) return takeNoise(input, total);
  input.drop(total);
  return event;
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

/** Length of the message that a header begins; undefined: it is not one. */
function announcedBytes(header: Buffer): number | undefined {
  const version = header[HEADER_OFFSET.version] ?? 0;
  const length = header.readUInt16LE(HEADER_OFFSET.length);
  const check = header.readUInt16LE(HEADER_OFFSET.check);
  const isHeader =
    version === LIMITS.PROTOCOL_VERSION
      ? length <= MAX_BODY_BYTES && check === headerCheck(header)
      : isOlder(version) &&
        header[HEADER_OFFSET.type] === HELLO &&
        length <= LIMITS.OLDER_OPENING_BYTES &&
        check === 0;
  return isHeader ? HEADER_BYTES + length : undefined;
}

function isOlder(version: number): boolean {
  return version > 0 && version < LIMITS.PROTOCOL_VERSION;
}

function hasCrc(message: Buffer): boolean {
  const head = Buffer.from(message.subarray(0, HEADER_BYTES));
  head.writeUInt32LE(0, HEADER_OFFSET.crc);
  const crc = crc32(message.subarray(HEADER_BYTES), crc32(head));
  return crc === message.readUInt32LE(HEADER_OFFSET.crc);
}

/** @returns undefined for what is no Hello, of an older version */
function readMessage(bytes: Buffer): ParserEvent | undefined {
  const envelope: Envelope = {
    stream: bytes[HEADER_OFFSET.stream] ?? 0,
    epoch: bytes.readUInt32LE(HEADER_OFFSET.epoch),
    sequence: bytes.readUInt32LE(HEADER_OFFSET.sequence),
  };
  const version = bytes[HEADER_OFFSET.version] ?? 0;
  try {
    const message = decodeBody(bytes[HEADER_OFFSET.type] ?? 0, bytes.subarray(HEADER_BYTES));
    if (isOlder(version)) {
      if (message?.type !== "hello") return undefined;
      return { kind: "older", version, epoch: envelope.epoch, hello: message.body };
    }
    if (message === undefined) return { kind: "unknown", envelope };
    return { kind: "message", envelope, message, bytes: bytes.length };
  } catch (error) {
    if (!(error instanceof MessageFormatError)) throw error;
    return isOlder(version) ? undefined : { kind: "malformed", envelope, error };
  }
}
