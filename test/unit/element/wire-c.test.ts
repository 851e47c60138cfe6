/** The guest's codec and parser in C (guest/element/wire.c) against the vectors that TypeScript made. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { encodeMessage, MAX_DATA_BYTES, MessageParser, type ParserEvent } from "../../../proto/framing.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { buildElement, programPath } from "../../element/support/programs.ts";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "..");
const program = programPath("wire-echo");

interface Vector {
  readonly name: string;
  readonly hex: string;
}

const vectors = JSON.parse(readFileSync(join(root, "test", "vectors", "wire.json"), "utf8")) as Vector[];
const all = vectors.map(({ hex }) => hex).join("");

/** What the C parser makes of lines of bytes: one line a message, and how many bytes it skipped. */
function echo(lines: readonly string[], ...options: string[]): { messages: string[]; skipped: number } {
  const input = `${lines.join("\n")}\n`;
  const output = execFileSync(program, options, { input, encoding: "utf8", maxBuffer: 64 * 1024 * 1024 });
  const messages = output.trimEnd().split("\n");
  const skipped = Number(/^skipped (\d+)$/.exec(messages.pop() ?? "")?.[1]);
  return { messages, skipped };
}

const hexOf = (line: string): string => line.split(" ")[3] ?? "";

beforeAll(() => {
  buildElement("wire-echo");
});

describe("the C codec", () => {
  it.each(vectors)("reads $name and writes the same bytes", ({ hex }) => {
    const { messages, skipped } = echo([hex]);
    expect(messages.map(hexOf)).toEqual([hex]);
    expect(skipped).toBe(0);
  });

  it("writes what TypeScript reads", () => {
    const events: ParserEvent[] = [...new MessageParser().push(Buffer.from(all, "hex"))];
    const echoed = echo([all]).messages.map(hexOf).join("");
    expect([...new MessageParser().push(Buffer.from(echoed, "hex"))]).toEqual(events);
  });
});

describe("the C parser", () => {
  const whole = vectors.map(({ hex }) => hex);

  it.each([1, 2, 3, 7, 23, 24, 25, 100, 4096])("finds all messages in pieces of %i bytes", (size) => {
    expect(echo([all], String(size)).messages.map(hexOf)).toEqual(whole);
  });

  it("finds a message that is split at any offset", () => {
    const hex = vectors.find(({ name }) => name === "welcome")?.hex ?? "";
    for (let at = 2; at < hex.length; at += 2) {
      expect(echo([hex.slice(0, at), hex.slice(at)]).messages.map(hexOf)).toEqual([hex]);
    }
  });

  it("skips noise between messages, and says how much", () => {
    const noise = [
      "00".repeat(100),
      "56454e",
      "56454e43ff",
      "56454e4301ffffffffffffffffffffffffffffffffffffff",
    ];
    const lines = whole.flatMap((hex, index) => [noise[index % noise.length] ?? "", hex]);
    const bytes = whole.reduce((sum, _hex, index) => sum + (noise[index % noise.length] ?? "").length / 2, 0);
    const { messages, skipped } = echo([lines.join("")]);
    expect(messages.map(hexOf)).toEqual(whole);
    expect(skipped).toBe(bytes);
  });

  it("finds the message behind half of another, once NULs have completed it", () => {
    const long = encodeMessage(
      { type: "bye", body: { text: "x".repeat(LIMITS.MAX_TEXT_BYTES) } },
      { epoch: 9, sequence: 1, stream: 0 },
    ).toString("hex");
    const hex = whole[1] ?? "";
    const nuls = "00".repeat(LIMITS.FLUSH_NULS);
    for (const length of [2, 8, 46, 48, 50, 300]) {
      expect(echo([long.slice(0, length), nuls + hex]).messages.map(hexOf)).toEqual([hex]);
    }
  });

  it("refuses a damaged message, whichever bit is wrong, and reads the next", () => {
    const hex = vectors.find(({ name }) => name === "hello")?.hex ?? "";
    const damaged = Array.from({ length: (hex.length / 2) * 8 }, (_, bit) => {
      const bytes = Buffer.from(hex, "hex");
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      return `${bytes.toString("hex")}${"00".repeat(LIMITS.MAX_MESSAGE_BYTES)}`;
    });
    const { messages } = echo([...damaged, hex]);
    expect(messages.map(hexOf)).toEqual([hex]);
  });

  it("tells a malformed body and an unknown type from noise", () => {
    const envelope = { epoch: 9, sequence: 1, stream: 0 };
    const tooLong = encodeMessage({ type: "bye", body: { text: "x".repeat(256) } }, envelope).toString("hex");
    expect(echo([tooLong]).messages).toEqual(["malformed 6"]);
    const unknown = encodeMessage({ type: "ping", body: { token: 1 } }, envelope);
    unknown[5] = 200;
    const { messages } = echo([withCrc(unknown)]);
    expect(messages).toEqual(["unknown 200"]);
  });

  it("takes the longest message and none that is longer", () => {
    const size = LIMITS.DATA_PREFIX_BYTES + MAX_DATA_BYTES;
    const longest = Buffer.alloc(LIMITS.HEADER_BYTES + size, 0x11);
    longest.set(Buffer.from("56454e430140000009000000010000000000000000000000", "hex"));
    longest.writeUInt32LE(size, 16);
    const hex = withCrc(longest);
    expect(echo([hex]).messages.map(hexOf)).toEqual([hex]);
    for (const length of [size + 1, 0x7fffffff, 0xffffffff]) {
      const bytes = Buffer.from(hex, "hex");
      bytes.writeUInt32LE(length, 16);
      expect(echo([bytes.toString("hex") + (whole[0] ?? "")]).messages.map(hexOf)).toEqual([whole[0]]);
    }
  });
});

/** The bytes with a right checksum, as a later version's sender would have sent them. */
function withCrc(bytes: Buffer): string {
  bytes.writeUInt32LE(0, 20);
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  bytes.writeUInt32LE((crc ^ 0xffffffff) >>> 0, 20);
  return bytes.toString("hex");
}
