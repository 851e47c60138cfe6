/** HXFR's parser against a hostile client. Input: a byte for the size of pieces, and the stream. */
import assert from "node:assert/strict";
import { ByteQueue } from "../../../proto/byte-queue.ts";
import {
  HXFR_HEADER_BYTES,
  HXFR_MAGIC,
  HXFR_REQUESTS,
  HxfrFormatError,
  HxfrParser,
  hxfrMessageBytes,
  MAX_HXFR_PIXEL_BYTES,
} from "../../../proto/hxfr.ts";
import type { TypescriptTarget } from "../typescript-fuzzer.ts";
import { pieces } from "./pieces.ts";

const PIXELS = 64;

function seeds(): Buffer[] {
  const requests = Object.values(HXFR_REQUESTS).flatMap((format) => {
    const size = hxfrMessageBytes(format);
    const bytes = Buffer.alloc(size + (format.type === HXFR_REQUESTS.frame.type ? PIXELS : 0));
    bytes.writeUInt32LE(HXFR_MAGIC, 0);
    bytes[4] = format.type;
    bytes[5] = bytes.length > size ? 1 : 0;
    bytes.writeUInt32LE(bytes.length - HXFR_HEADER_BYTES, 8);
    return [bytes];
  });
  return [Buffer.concat(requests), ...requests].map((bytes) => Buffer.concat([Buffer.from([40]), bytes]));
}

export const hxfr: TypescriptTarget = {
  files: ["proto/hxfr.ts"],
  seeds,
  property: () => (input) => {
    if (input.length === 0) return;
    const parser = new HxfrParser();
    const queue = new ByteQueue();
    let pixels = 0;
    try {
      for (const piece of pieces(input.subarray(1), (input[0] ?? 0) + 1)) {
        queue.add(piece);
        for (let before = queue.length; ; before = queue.length) {
          const event = parser.next(queue);
          if (event === undefined) break;
          assert(queue.length < before, "an event without bytes");
          if (event.kind === "request") {
            assert.equal(pixels, 0, "a request among pixels");
            pixels = event.pixelBytes ?? 0;
            assert(pixels <= MAX_HXFR_PIXEL_BYTES);
          } else {
            pixels -= event.bytes.length;
            assert(pixels >= 0);
            assert.equal(event.last, pixels === 0);
          }
        }
        queue.keep();
      }
    } catch (error) {
      if (!(error instanceof HxfrFormatError)) throw error;
    }
  },
};
