/**
 * The server's decoder of viewers' messages, and the page's of the server's. Input: a byte (odd: the page's end) and a message.
 */
import assert from "node:assert/strict";
import {
  decodeServerMessage,
  decodeViewerMessage,
  encodeServerMessage,
  encodeViewerMessage,
  type OutgoingServerMessage,
  type OutgoingViewerMessage,
  ViewerMessageError,
} from "../../../proto/viewer-messages.ts";
import type { TypescriptTarget } from "../typescript-fuzzer.ts";

const VIEWER = ["hello", "watch", "keyFrameRequest", "report", "ping", "pointer", "key"] as const;
const SERVER = [
  "hello",
  "sources",
  "configuration",
  "accessUnit",
  "state",
  "statistics",
  "thumbnail",
  "cursor",
  "pong",
] as const;

/** What is accepted is the same after being sent on. */
function check(
  decode: (bytes: Uint8Array) => unknown,
  encode: (message: unknown) => Uint8Array,
  bytes: Buffer,
): void {
  let message: unknown;
  try {
    message = decode(bytes);
  } catch (error) {
    assert(error instanceof ViewerMessageError, String(error));
    return;
  }
  const sent = encode(message);
  assert(Buffer.from(encode(decode(sent))).equals(sent));
}

export const viewer: TypescriptTarget = {
  files: ["proto/viewer-messages.ts", "proto/gen/messages.js"],
  seeds: () => [
    ...VIEWER.map((type) => Buffer.concat([Buffer.from([0]), encodeViewerMessage({ type, body: {} })])),
    ...SERVER.map((type) => Buffer.concat([Buffer.from([1]), encodeServerMessage({ type, body: {} })])),
  ],
  property: () => (input) => {
    if (input.length === 0) return;
    const bytes = input.subarray(1);
    if ((input[0] ?? 0) % 2 === 0) {
      check(decodeViewerMessage, (message) => encodeViewerMessage(message as OutgoingViewerMessage), bytes);
    } else {
      check(decodeServerMessage, (message) => encodeServerMessage(message as OutgoingServerMessage), bytes);
    }
  },
};
