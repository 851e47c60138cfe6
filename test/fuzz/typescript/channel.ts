/**
 * Messages of the control socket and of workers, against their clients and a worker that a guest has taken over. Inputs begin with
 * a size of pieces; then come bytes as they are, or, after an odd size, lines of JSON of which each gets its head.
 */
import assert from "node:assert/strict";
import {
  ChannelError,
  MessageCutter,
  type MessageSchema,
  parseMessage,
} from "../../../host/native/channel.ts";
import { controlAnswer, controlRequest } from "../../../host/relay/control.ts";
import { fromWorker } from "../../../host/workers/messages.ts";
import type { TypescriptTarget } from "../typescript-fuzzer.ts";
import { pieces } from "./pieces.ts";

const MAX_BYTES = 64;
const SCHEMAS: readonly MessageSchema<object>[] = [controlRequest, controlAnswer, fromWorker];

/** What bytes mean, in pieces of a size: messages, and the error that ends them. */
function messages(stream: Buffer, size: number, schema: MessageSchema<object>): string[] {
  const cutter = new MessageCutter(MAX_BYTES);
  const list: string[] = [];
  try {
    for (const piece of pieces(stream, size)) {
      for (const { text, bytes } of cutter.add(piece)) {
        assert(bytes.length <= MAX_BYTES);
        const message = parseMessage(text, schema);
        // What is accepted is accepted again.
        const again = parseMessage(Buffer.from(JSON.stringify(message)), schema);
        assert.deepEqual(again, message);
        list.push(JSON.stringify(message));
      }
    }
  } catch (error) {
    assert(error instanceof ChannelError || error instanceof SyntaxError, String(error));
    list.push(error.name);
  }
  return list;
}

function withHeads(lines: Buffer): Buffer {
  const parts = lines
    .toString("latin1")
    .split("\n")
    .map((line) => {
      const text = Buffer.from(line, "latin1");
      const head = Buffer.alloc(8);
      head.writeUInt32LE(text.length, 0);
      return Buffer.concat([head, text]);
    });
  return Buffer.concat(parts);
}

const SEEDS = [
  { type: "list" },
  { type: "reload" },
  {
    type: "vms",
    file: "/etc/host.toml",
    viewer: "http://a/",
    vms: [{ name: "a", state: "off", links: [{ name: "/p", connections: 1 }] }],
  },
  { type: "applied", closed: ["vm a"], opened: [], later: ["log"] },
  { type: "failed", text: "no" },
  { type: "want-exporter" },
  { type: "idle", before: 3 },
  { type: "offer", source: "a/head0", kind: "head", title: "a", bitrate: { minKbps: 1, maxKbps: 2 } },
  { type: "state", source: "a/head0", state: { code: "away", text: "off" } },
  { type: "cursor", source: "a/head0", x: 1, y: -2, image: { width: 4, height: 4 } },
];

export const channel: TypescriptTarget = {
  files: ["host/native/channel.ts", "host/relay/control.ts", "host/workers/messages.ts"],
  seeds: () =>
    SEEDS.map((seed) => Buffer.from(`\x0f${JSON.stringify(seed)}\n${JSON.stringify(seed)}`, "latin1")),
  property: () => (input) => {
    const [size = 0] = input;
    const rest = input.subarray(1);
    const stream = size % 2 === 1 ? withHeads(rest) : rest;
    for (const schema of SCHEMAS) {
      assert.deepEqual(
        messages(stream, size + 1, schema),
        messages(stream, Math.max(stream.length, 1), schema),
      );
    }
  },
};
