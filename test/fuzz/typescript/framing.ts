/**
 * The relay's parser of the wire protocol against a hostile guest. Inputs begin with their form, and a second byte:
 *
 * - 0: that size of pieces, and a stream as it is;
 * - 1: that type, and a body;
 * - 2: that size of pieces, and records (flags, type, u16 of length, body) of which each gets the checks of a message that no
 *   chance would give it, but one that its flags spoil.
 *
 * The first two are those of wire-fuzzer.c. Streams in pieces must mean what they mean as a whole.
 */
import assert from "node:assert/strict";
import { crc32 } from "node:zlib";
import { ByteQueue } from "../../../proto/byte-queue.ts";
import { type ParserEvent, takeMessage } from "../../../proto/framing.ts";
import { HEADER_OFFSET, LIMITS } from "../../../proto/limits.ts";
import { decodeBody, encodeBody, MessageFormatError } from "../../../proto/messages.ts";
import { wireSeeds } from "../seeds.ts";
import type { TypescriptTarget } from "../typescript-fuzzer.ts";
import { pieces } from "./pieces.ts";

/** What a stream means: its events but for the cuts in noise. */
function events(stream: Buffer, size: number): string[] {
  const queue = new ByteQueue();
  const list: string[] = [];
  let noise = 0;
  for (const piece of pieces(stream, size)) {
    queue.add(piece);
    for (;;) {
      const before = queue.length;
      const event = takeMessage(queue);
      if (event === undefined) break;
      const taken = before - queue.length;
      assert(taken > 0, "an event without bytes");
      if (event.kind === "message" || event.kind === "noise") assert.equal(event.bytes, taken);
      if (event.kind === "noise") {
        noise += taken;
        continue;
      }
      list.push(`${noise} of noise, ${describe(event)}`);
      noise = 0;
    }
    queue.keep();
    const waiting = Math.max(queue.length + 1, queue.awaited);
    assert(waiting <= LIMITS.MAX_MESSAGE_BYTES, "more waits than a message has");
  }
  // How much of the rest is noise is not known before more has come.
  return [...list, `${noise + queue.length} left`];
}

function describe(event: Exclude<ParserEvent, { kind: "noise" }>): string {
  if (event.kind === "message") return `${event.message.type} ${event.envelope.sequence} of ${event.bytes}`;
  return `${event.kind} ${event.kind === "older" ? event.epoch : event.envelope.sequence}`;
}

function parseStream(stream: Buffer, size: number): void {
  assert.deepEqual(events(stream, size), events(stream, Math.max(stream.length, 1)));
}

const RECORD_HEAD_BYTES = 4;
const SPOILT = { crc: 1, check: 2, length: 4, version: 8, cut: 16 } as const;

/** A message of this type and body, whole but for what the flags spoil. */
function message(flags: number, type: number, body: Buffer): Buffer {
  const bytes = Buffer.alloc(LIMITS.HEADER_BYTES + body.length);
  bytes.writeUInt32LE(LIMITS.MAGIC, HEADER_OFFSET.magic);
  bytes[HEADER_OFFSET.version] = LIMITS.PROTOCOL_VERSION - (flags & SPOILT.version ? 1 : 0);
  bytes[HEADER_OFFSET.type] = type;
  bytes.writeUInt16LE(flags & SPOILT.length ? body.length ^ 0x8000 : body.length, HEADER_OFFSET.length);
  const check = crc32(bytes.subarray(0, HEADER_OFFSET.check)) & 0xffff;
  bytes.writeUInt16LE(flags & SPOILT.version ? 0 : check ^ (flags & SPOILT.check), HEADER_OFFSET.check);
  body.copy(bytes, LIMITS.HEADER_BYTES);
  bytes.writeUInt32LE((crc32(bytes) ^ (flags & SPOILT.crc)) >>> 0, HEADER_OFFSET.crc);
  return flags & SPOILT.cut ? bytes.subarray(0, bytes.length >> 1) : bytes;
}

function records(input: Buffer): Buffer {
  const messages: Buffer[] = [];
  for (let at = 0; at + RECORD_HEAD_BYTES <= input.length; ) {
    const [flags = 0, type = 0] = input.subarray(at);
    const begin = at + RECORD_HEAD_BYTES;
    const body = input.subarray(begin, begin + input.readUInt16LE(at + 2));
    messages.push(message(flags, type, body));
    at = begin + body.length;
  }
  return Buffer.concat(messages);
}

/** The vectors' messages one after the other, as records. */
function recordSeed(): Buffer {
  const bodies = wireSeeds().filter(([form]) => form === 1);
  const parts = bodies.map((seed) => {
    const head = Buffer.from([0, seed[1] ?? 0, 0, 0]);
    head.writeUInt16LE(seed.length - 2, 2);
    return Buffer.concat([head, seed.subarray(2)]);
  });
  return Buffer.concat([Buffer.from([2, 50]), ...parts]);
}

/** What is accepted can be sent on, and is understood as the same. */
function decode(type: number, body: Buffer): void {
  let first: ReturnType<typeof decodeBody>;
  try {
    first = decodeBody(type, body);
  } catch (error) {
    assert(error instanceof MessageFormatError, String(error));
    return;
  }
  if (first === undefined || first.type === "data") return;
  const bytes = encodeBody(first);
  let second: ReturnType<typeof decodeBody>;
  try {
    second = decodeBody(type, bytes);
  } catch (error) {
    // U+FFFD has more bytes than what it replaces.
    assert(error instanceof MessageFormatError && error.message.includes("limit"), String(error));
    return;
  }
  assert(second !== undefined && second.type !== "data");
  assert(Buffer.from(encodeBody(second)).equals(bytes));
}

export const framing: TypescriptTarget = {
  files: ["proto/framing.ts", "proto/byte-queue.ts", "proto/messages.ts"],
  seeds: () => [...wireSeeds(), recordSeed()],
  property: () => (input) => {
    if (input.length < 2) return;
    const [form = 0, second = 0] = input;
    const rest = input.subarray(2);
    if (form === 1) decode(second, rest);
    else parseStream(form === 2 ? records(rest) : rest, second + 1);
  },
};
