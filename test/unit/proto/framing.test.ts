import { describe, expect, it } from "vitest";
import { encodeDataHead, encodeMessage, MAX_DATA_BYTES } from "../../../proto/framing.ts";
import { HEADER_FIELDS, LIMITS } from "../../../proto/limits.ts";
import { MessageFormatError } from "../../../proto/messages.ts";
import { MessageReader } from "../../support/message-reader.ts";

const envelope = { epoch: 0xdeadbeef, sequence: 7, stream: 0 };
const ping = (token: number): Buffer => encodeMessage({ type: "ping", body: { token } }, envelope);

/** Tokens of the Pings that a parser finds when the bytes arrive in these pieces. */
function tokens(pieces: readonly Buffer[], parser = new MessageReader()): number[] {
  const found: number[] = [];
  for (const piece of pieces) {
    for (const event of parser.push(piece)) {
      if (event.kind === "message" && event.message.type === "ping") found.push(event.message.body.token);
    }
  }
  return found;
}

describe("header", () => {
  it("has fields without gaps that fill HEADER_BYTES", () => {
    let end = 0;
    for (const { offset, bytes } of HEADER_FIELDS) {
      expect(offset).toBe(end);
      end = offset + bytes;
    }
    expect(end).toBe(LIMITS.HEADER_BYTES);
  });

  it("carries epoch and sequence", () => {
    const [event] = new MessageReader().push(ping(1));
    expect(event).toMatchObject({ kind: "message", envelope, bytes: ping(1).length });
  });
});

describe("takeMessage", () => {
  it("finds a message split at every offset", () => {
    const bytes = Buffer.concat([ping(1), ping(2)]);
    for (let at = 0; at <= bytes.length; at++) {
      expect(tokens([bytes.subarray(0, at), bytes.subarray(at)])).toEqual([1, 2]);
    }
  });

  it("finds messages that arrive byte by byte, and ten at once", () => {
    const ten = Array.from({ length: 10 }, (_, index) => index);
    const bytes = Buffer.concat(ten.map(ping));
    expect(tokens([bytes])).toEqual(ten);
    expect(tokens(Array.from(bytes, (byte) => Buffer.from([byte])))).toEqual(ten);
  });

  it("skips garbage, NULs and magics that begin no message", () => {
    const magic = Buffer.from("VENC");
    const garbage = Buffer.concat([
      Buffer.alloc(100),
      magic,
      magic,
      Buffer.from("VEN"),
      Buffer.alloc(40, 0xff),
    ]);
    const parser = new MessageReader();
    expect(tokens([garbage, ping(5), garbage, ping(6)], parser)).toEqual([5, 6]);
    expect(parser.skippedBytes).toBe(2 * garbage.length);
  });

  it("finds the next message after half of one at every length, once the NULs have completed it", () => {
    const whole = encodeMessage({ type: "bye", body: { text: "x".repeat(200) } }, envelope);
    const nulls = Buffer.alloc(LIMITS.FLUSH_NULS);
    for (let length = 0; length < whole.length; length++) {
      expect(tokens([whole.subarray(0, length), nulls, ping(9)])).toEqual([9]);
    }
  });

  it("rejects a message in which any single bit is wrong, and finds the next", () => {
    const good = ping(3);
    for (let bit = 0; bit < good.length * 8; bit++) {
      const bad = Buffer.from(good);
      bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      // A wrong length may claim what follows, so a flush stands between, as it does after a lost writer.
      expect(tokens([bad, Buffer.alloc(LIMITS.FLUSH_NULS), ping(4)])).toEqual([4]);
    }
  });

  it.each([
    0,
    1,
    LIMITS.MAX_MESSAGE_BYTES - LIMITS.HEADER_BYTES + 1,
    0xffffffff,
  ])("does not wait for a forged length of %i", (length) => {
    const forged = ping(1);
    forged.writeUInt32LE(length, 16);
    const parser = new MessageReader();
    expect(tokens([forged, Buffer.alloc(32), ping(2)], parser)).toEqual([2]);
  });

  it("takes the longest message and no longer one", () => {
    const bytes = Buffer.alloc(MAX_DATA_BYTES, 0xab);
    const head = encodeDataHead(3, 99, bytes, envelope);
    const [event] = new MessageReader().push(Buffer.concat([head, bytes]));
    expect(event).toMatchObject({ kind: "message", message: { type: "data", frame: 3, offset: 99 } });
    expect(head.length + bytes.length).toBe(LIMITS.MAX_MESSAGE_BYTES);
    const long = { type: "bye", body: { text: "x".repeat(LIMITS.MAX_MESSAGE_BYTES) } } as const;
    expect(() => encodeMessage(long, envelope)).toThrow(MessageFormatError);
  });

  it("reports a type it does not know by its envelope, and says when a known one does not parse", () => {
    const unknown = ping(1);
    const parse = (type: number, body: Buffer) => {
      // An encoder of its own, for messages that ours refuses to make: the Data head has the same header.
      const padded = Buffer.concat([
        encodeDataHead(0, 0, body, envelope).subarray(0, LIMITS.HEADER_BYTES),
        body,
      ]);
      padded[5] = type;
      padded.writeUInt32LE(body.length, 16);
      padded.writeUInt32LE(0, 20);
      padded.writeUInt32LE(crc(padded), 20);
      return new MessageReader().push(padded);
    };
    expect(parse(200, unknown)).toMatchObject([{ kind: "unknown", envelope: { epoch: envelope.epoch } }]);
    expect(parse(4, Buffer.from([0x0a, 0xff]))).toMatchObject([{ kind: "malformed" }]);
    expect(parse(64, Buffer.from([1, 2, 3]))).toMatchObject([{ kind: "malformed" }]);
  });
});

/** CRC-32 by its definition, independent of zlib's. */
function crc(bytes: Uint8Array): number {
  let value = 0xffffffff;
  for (const byte of bytes) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  }
  return (value ^ 0xffffffff) >>> 0;
}
