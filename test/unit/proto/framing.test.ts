import { describe, expect, it } from "vitest";
import { encodeDataHead, encodeMessage, MAX_DATA_BYTES } from "../../../proto/framing.ts";
import { HEADER_FIELDS, HEADER_OFFSET, LIMITS } from "../../../proto/limits.ts";
import { MessageFormatError } from "../../../proto/messages.ts";
import { MessageReader } from "../../support/message-reader.ts";
import {
  OLDER_EPOCH,
  OLDER_ERROR,
  OLDER_GREETING,
  OLDER_HELLO,
  OLDER_VERSION,
} from "../../support/older-version.ts";
import { sealed, sealHeader } from "../../support/sealed.ts";

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
    ...[0, 1, 3, 300, LIMITS.MAX_MESSAGE_BYTES - LIMITS.HEADER_BYTES],
    ...[LIMITS.MAX_MESSAGE_BYTES - LIMITS.HEADER_BYTES + 1, 0xffff],
  ])("does not wait for a forged length of %i", (length) => {
    const forged = ping(1);
    forged.writeUInt16LE(length, HEADER_OFFSET.length);
    expect(tokens([forged, ping(2)])).toEqual([2]);
  });

  it("does not wait for a length beyond the limit, whatever its header's check", () => {
    const forged = ping(1);
    forged.writeUInt16LE(LIMITS.MAX_MESSAGE_BYTES - LIMITS.HEADER_BYTES + 1, HEADER_OFFSET.length);
    expect(tokens([sealHeader(forged), ping(2)])).toEqual([2]);
  });

  it("rejects a header in which any one or two bits are wrong, before its body has come", () => {
    const good = encodeDataHead(3, 99, Buffer.alloc(1000), envelope).subarray(0, LIMITS.HEADER_BYTES);
    const bits = (HEADER_OFFSET.check + 2) * 8;
    for (let one = 0; one < bits; one++) {
      for (let two = one; two < bits; two++) {
        const bad = Buffer.from(good);
        for (const bit of new Set([one, two])) bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        const parser = new MessageReader();
        parser.push(bad);
        expect(parser.pendingBytes).toBeLessThan(LIMITS.HEADER_BYTES);
      }
    }
  });

  it("drops a message with a wrong body as a whole", () => {
    const inner = ping(1);
    const outer = encodeDataHead(3, 0, inner, envelope);
    outer[LIMITS.HEADER_BYTES] = 4;
    expect(tokens([Buffer.concat([outer, inner]), ping(2)])).toEqual([2]);
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
      padded[HEADER_OFFSET.type] = type;
      padded.writeUInt16LE(body.length, HEADER_OFFSET.length);
      return new MessageReader().push(sealed(padded));
    };
    expect(parse(200, unknown)).toMatchObject([{ kind: "unknown", envelope: { epoch: envelope.epoch } }]);
    expect(parse(4, Buffer.from([0x0a, 0xff]))).toMatchObject([{ kind: "malformed" }]);
    expect(parse(64, Buffer.from([1, 2, 3]))).toMatchObject([{ kind: "malformed" }]);
  });
});

describe("version 2", () => {
  const parse = (bytes: Buffer) => new MessageReader().push(bytes);
  const hello = (): Buffer => Buffer.from(OLDER_HELLO, "hex");

  it("is recognised by its Hello, however it is cut", () => {
    const event = {
      kind: "older",
      version: OLDER_VERSION,
      epoch: OLDER_EPOCH,
      hello: { versionMax: 3, software: "vsockenc 1" },
    };
    expect(parse(hello())).toMatchObject([event]);
    for (let at = 0; at < hello().length; at++) {
      const parser = new MessageReader();
      expect(parser.push(hello().subarray(0, at))).toEqual([]);
      expect(parser.push(hello().subarray(at))).toMatchObject([event]);
    }
  });

  it("is noise where it is wrong, or another message", () => {
    for (let bit = 0; bit < hello().length * 8; bit++) {
      const bad = hello();
      bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(tokens([bad, Buffer.alloc(LIMITS.OLDER_OPENING_BYTES), ping(4)])).toEqual([4]);
      expect(parse(Buffer.concat([bad, Buffer.alloc(LIMITS.OLDER_OPENING_BYTES)]))).toEqual([]);
    }
    for (const hex of [OLDER_GREETING, OLDER_ERROR]) {
      expect(tokens([Buffer.from(hex, "hex"), ping(4)])).toEqual([4]);
    }
    const body = { software: "x".repeat(LIMITS.MAX_NAME_BYTES + 1) };
    expect(parse(encodeMessage({ type: "hello", body }, envelope, OLDER_VERSION))).toEqual([]);
  });

  it("is written as its own encoder does", () => {
    const body = { code: 4, text: "resource 9 does not exist", fatal: true, subject: 2, id: 63 };
    const written = encodeMessage(
      { type: "error", body },
      { epoch: OLDER_EPOCH, sequence: 8, stream: 0 },
      OLDER_VERSION,
    );
    expect(written.toString("hex")).toBe(OLDER_ERROR);
  });
});
