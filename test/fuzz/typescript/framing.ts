/**
 * The relay's parser of the wire protocol against a hostile guest; the TypeScript twin of wire-fuzzer.c, with the same form of
 * inputs: 0, a size and a stream in pieces of that size, or anything else, a type and a body.
 */
import assert from "node:assert/strict";
import { ByteQueue } from "../../../proto/byte-queue.ts";
import { type ParserEvent, takeMessage } from "../../../proto/framing.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { decodeBody, encodeBody, MessageFormatError } from "../../../proto/messages.ts";
import { wireSeeds } from "../seeds.ts";
import type { TypescriptTarget } from "../typescript-fuzzer.ts";
import { pieces } from "./pieces.ts";

function takenBytes(event: ParserEvent): number | undefined {
  return event.kind === "message" || event.kind === "noise" ? event.bytes : undefined;
}

function parseStream(stream: Buffer, size: number): void {
  const queue = new ByteQueue();
  let events = 0;
  for (const piece of pieces(stream, size)) {
    queue.add(piece);
    for (;;) {
      const before = queue.length;
      const event = takeMessage(queue);
      if (event === undefined) break;
      events += 1;
      const taken = before - queue.length;
      assert(taken > 0, "an event without bytes");
      assert.equal(takenBytes(event) ?? taken, taken);
    }
    queue.keep();
    assert(queue.length < LIMITS.MAX_MESSAGE_BYTES, "more waits than a message has");
  }
  assert(events <= stream.length);
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
  seeds: wireSeeds,
  property: () => (input) => {
    if (input.length < 2) return;
    const [form = 0, second = 0] = input;
    if (form === 0) parseStream(input.subarray(2), second + 1);
    else decode(second, input.subarray(2));
  },
};
