/** Streams that look like messages and are none: what each costs a parser. */
import { HEADER_OFFSET, LIMITS } from "../../proto/limits.ts";
import { messageId } from "../../proto/messages.ts";
import { sealHeader } from "./sealed.ts";

/** A parser hashes no more than this for each byte that it gets. */
export const MAX_HASHED_PER_BYTE = 4;

const LONGEST_BODY = LIMITS.MAX_MESSAGE_BYTES - LIMITS.HEADER_BYTES;

function header(version: number, type: number, length: number): Buffer {
  const bytes = Buffer.alloc(LIMITS.HEADER_BYTES);
  bytes.writeUInt32LE(LIMITS.MAGIC, HEADER_OFFSET.magic);
  bytes[HEADER_OFFSET.version] = version;
  bytes[HEADER_OFFSET.type] = type;
  bytes.writeUInt16LE(length, HEADER_OFFSET.length);
  return bytes;
}

const repeated = (bytes: Buffer, total: number): Buffer => Buffer.alloc(total, bytes);

/** Attacks of about `bytes` bytes, by name. A message behind each is found. */
export function falseHeaders(bytes: number): Record<string, Buffer> {
  const data = header(LIMITS.PROTOCOL_VERSION, messageId("data"), LONGEST_BODY);
  // The length of each is within the one behind it.
  const tenBytes = Buffer.concat([data.subarray(0, 6), data.subarray(HEADER_OFFSET.length).subarray(0, 4)]);
  const ping = sealHeader(header(LIMITS.PROTOCOL_VERSION, messageId("ping"), 0));
  const older = (type: "hello" | "greeting") => header(1, messageId(type), LIMITS.OLDER_OPENING_BYTES);
  /** Completes the last message, whose header is true. */
  const completed = (attack: Buffer): Buffer => Buffer.concat([attack, Buffer.alloc(LIMITS.FLUSH_NULS)]);
  return {
    "of ten bytes": repeated(tenBytes, bytes),
    "of five bytes, within each other": repeated(data.subarray(0, 5), bytes),
    "that are whole, with a false check": repeated(data, bytes),
    "that are true, with a false body": completed(repeated(sealHeader(Buffer.from(data)), bytes)),
    "that are true, of messages without a body": repeated(ping, bytes),
    "of older Hellos": completed(repeated(older("hello"), bytes)),
    "of older Greetings": completed(repeated(older("greeting"), bytes)),
  };
}
