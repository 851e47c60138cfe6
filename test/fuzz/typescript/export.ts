/**
 * Both ends of the export protocol: the relay's decoder against a hostile exporter, the exporter's against a hostile relay.
 *
 * Input: a byte of flags, a byte for the size of pieces, and a stream. Flag 1: the stream is one body that gets its length.
 * Flag 2: descriptors come with every piece. Flag 4: it is the exporter's end.
 */
import assert from "node:assert/strict";
import {
  ExportDecoder,
  type ExportMessage,
  ExportProtocolError,
  encodeExportMessage,
} from "../../../proto/export.ts";
import { LIMITS } from "../../../proto/limits.ts";
import type { TypescriptTarget } from "../typescript-fuzzer.ts";
import { pieces } from "./pieces.ts";

const EXTENT = { memory: 1, offset: 4096, length: 8192 };
const RECTANGLE = { x: 1, y: 2, width: 640, height: 480 };
const IMAGE = { width: 2, height: 2, pixels: new Uint8Array(16).fill(7) };
const RESOURCE = { resource: 3, generation: 4, width: 64, height: 64, format: 2 };

const MESSAGES: readonly ExportMessage[] = [
  { type: "hello", version: 2, software: "fuzz" },
  { type: "memory", memory: 1, size: 1 << 20, descriptor: 0 },
  { type: "acquire", request: 1, resource: 3, content: "PAGES", bytes: 4096, known: 4 },
  { type: "acquired", request: 1, ...RESOURCE, extents: [EXTENT, EXTENT] },
  { type: "acquired", request: 1, ...RESOURCE, extents: [], surface: 9 },
  { type: "acquired", request: 1, ...RESOURCE, extents: [], readable: { stride: 256, bytes: 16384 } },
  { type: "acquired", request: 1, ...RESOURCE, extents: [], known: true },
  { type: "refused", request: 1, resource: 3, code: "RESOURCE_UNKNOWN", text: "none" },
  { type: "release", resource: 3, generation: 4 },
  { type: "revoke", resource: 3, generation: 4 },
  { type: "scanout", head: 0, resource: 3, rectangle: RECTANGLE },
  { type: "damage", head: 0, rectangle: RECTANGLE },
  { type: "cursorImage", head: 0, image: IMAGE },
  { type: "cursorImage", head: 0, image: undefined },
  { type: "cursorPosition", head: 0, x: 5, y: 6 },
  { type: "read", request: 1, resource: 3, generation: 4, slot: 5 },
  { type: "slot", slot: 5, bytes: 16384, descriptor: 0 },
  { type: "readDone", request: 1, slot: 5, code: undefined, text: "", waitUs: 1, copyUs: 2 },
  { type: "free", slot: 5, discard: true },
  { type: "reset" },
];

const FLAG_BODY = 1;
const FLAG_DESCRIPTORS = 2;
const FLAG_EXPORTER = 4;
const MAX_DESCRIPTORS = 4;

function withLength(body: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(body.length);
  return Buffer.concat([length, body]);
}

/** A message is what it says after being sent on. */
function sentOn(message: ExportMessage): void {
  const bytes = encodeExportMessage(message);
  const again = new ExportDecoder(2 * LIMITS.MAX_EXPORT_MESSAGE_BYTES, 1, () => undefined);
  const descriptors = "descriptor" in message ? [message.descriptor] : [];
  const [second, ...more] = [...again.push(bytes, descriptors)];
  assert(second !== undefined && more.length === 0);
  assert(encodeExportMessage(second).equals(bytes));
}

function parse(stream: Buffer, size: number, flags: number): void {
  const open = new Set<number>();
  const longest = flags & FLAG_EXPORTER ? LIMITS.MAX_EXPORT_REQUEST_BYTES : LIMITS.MAX_EXPORT_MESSAGE_BYTES;
  const takesDescriptors = flags & FLAG_EXPORTER ? 0 : MAX_DESCRIPTORS;
  const decoder = new ExportDecoder(longest, takesDescriptors, (fd) => {
    assert(open.delete(fd), "a descriptor closed twice");
  });
  let next = 100;
  try {
    for (const piece of pieces(stream, size)) {
      const descriptors = flags & FLAG_DESCRIPTORS ? [next++] : [];
      for (const fd of descriptors) open.add(fd);
      for (const message of decoder.push(piece, descriptors)) {
        if ("descriptor" in message) assert(open.delete(message.descriptor), "a descriptor given twice");
        sentOn(message);
      }
    }
  } catch (error) {
    if (!(error instanceof ExportProtocolError)) throw error;
  } finally {
    decoder.close();
  }
  assert.equal(open.size, 0, "a descriptor is left open");
}

export const exporting: TypescriptTarget = {
  files: ["proto/export.ts"],
  seeds: () => [
    ...MESSAGES.map((message) =>
      Buffer.concat([
        Buffer.from([FLAG_BODY | FLAG_DESCRIPTORS, 255]),
        encodeExportMessage(message).subarray(4),
      ]),
    ),
    Buffer.concat([
      Buffer.from([0, 63]),
      ...MESSAGES.filter((m) => !("descriptor" in m)).map(encodeExportMessage),
    ]),
    Buffer.concat([Buffer.from([FLAG_EXPORTER, 7]), encodeExportMessage(MESSAGES[2] as ExportMessage)]),
  ],
  property: () => (input) => {
    if (input.length < 2) return;
    const [flags = 0, size = 0] = input;
    const stream = input.subarray(2);
    parse(flags & FLAG_BODY ? withLength(stream) : stream, size + 1, flags);
  },
};
