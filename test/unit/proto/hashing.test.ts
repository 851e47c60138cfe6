/** What a parser hashes is bounded by what it gets: bytes are counted, not time. */
import { beforeEach, describe, expect, it, vi } from "vitest";
import { encodeMessage } from "../../../proto/framing.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { falseHeaders, MAX_HASHED_PER_BYTE } from "../../support/false-headers.ts";
import { hashed } from "../../support/hashed-bytes.ts";
import { MessageReader } from "../../support/message-reader.ts";

vi.mock("node:zlib", async (original) => {
  const { countingZlib } = await import("../../support/hashed-bytes.ts");
  return countingZlib(await original());
});

const envelope = { epoch: 9, sequence: 1, stream: 0 };
const ping = encodeMessage({ type: "ping", body: { token: 5 } }, envelope);
const attacks = Object.entries(falseHeaders(4 * LIMITS.MAX_MESSAGE_BYTES));

function read(stream: Buffer, size: number): string[] {
  const reader = new MessageReader();
  const kinds: string[] = [];
  for (let at = 0; at < stream.length; at += size) {
    kinds.push(...reader.push(stream.subarray(at, at + size)).map(({ kind }) => kind));
  }
  return kinds;
}

beforeEach(() => {
  hashed.bytes = 0;
});

describe.each([1, 23, 4096, 1 << 20])("in pieces of %i bytes, false headers", (size) => {
  it.each(attacks)("%s cost no more than they have", (_name, attack) => {
    expect(read(Buffer.concat([attack, ping]), size)).toEqual(["message"]);
    expect(hashed.bytes).toBeLessThan(MAX_HASHED_PER_BYTE * attack.length);
  });
});

describe("a header", () => {
  it("that is false costs at most its own bytes", () => {
    const header = Buffer.from(ping.subarray(0, LIMITS.HEADER_BYTES));
    header[8] = 0;
    expect(read(header, header.length)).toEqual([]);
    expect(hashed.bytes).toBeGreaterThan(0);
    expect(hashed.bytes).toBeLessThanOrEqual(LIMITS.HEADER_BYTES);
  });

  it("that is true is checked once while its body comes", () => {
    const body = { text: "x".repeat(LIMITS.MAX_TEXT_BYTES) };
    const bye = encodeMessage({ type: "bye", body }, envelope);
    hashed.bytes = 0;
    expect(read(bye, 1)).toEqual(["message"]);
    expect(hashed.bytes).toBeLessThan(bye.length + 2 * LIMITS.HEADER_BYTES);
  });
});
