import { describe, expect, it } from "vitest";
import {
  ExportDecoder,
  type ExportMessage,
  ExportProtocolError,
  encodeExportMessage,
} from "../../../proto/export.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { vsockenc } from "../../../proto/protobuf.ts";

describe("the codec of the export protocol", () => {
  const rectangle = { x: 1, y: 2, width: 3, height: 4 };
  const inMemory: ExportMessage = {
    type: "acquired",
    request: 1,
    resource: 2,
    generation: 2 ** 50,
    width: 3,
    height: 4,
    format: 1,
    extents: [{ memory: 1, offset: 2 ** 33, length: 4096 }],
  };
  const messages: readonly ExportMessage[] = [
    { type: "hello", version: 2, software: "test" },
    { type: "memory", memory: 1, size: 2 ** 40, descriptor: 77 },
    { type: "acquire", request: 1, resource: 2, content: "RENDERED", bytes: 2 ** 33, known: 2 ** 50 },
    inMemory,
    { ...inMemory, extents: [], known: true },
    { ...inMemory, extents: [], surface: 0xffffffff },
    { ...inMemory, extents: [], readable: { stride: 5464, bytes: 2 ** 33 } },
    { type: "refused", request: 1, resource: 2, code: "DEVICE_NOT_READY", text: "no" },
    { type: "release", resource: 1, generation: 2 },
    { type: "revoke", resource: 1, generation: 2 },
    { type: "scanout", head: 1, resource: 2, rectangle },
    { type: "damage", head: 1, rectangle },
    { type: "read", request: 3, resource: 2, generation: 2 ** 50, slot: 23 },
    { type: "slot", slot: 23, bytes: 2 ** 33, descriptor: 78 },
    { type: "readDone", request: 3, slot: 23, code: undefined, text: "", waitUs: 1_700_000, copyUs: 400 },
    { type: "readDone", request: 4, slot: 0, code: "TOO_MANY_SLOTS", text: "no", waitUs: 0, copyUs: 0 },
    { type: "free", slot: 23, discard: true },
    { type: "reset" },
  ];

  it.each([1, 3, 7, 100_000])("returns every message, cut into pieces of %i bytes", (size) => {
    const decoder = new ExportDecoder(LIMITS.MAX_EXPORT_MESSAGE_BYTES, 2, () => undefined);
    const bytes = Buffer.concat(messages.map(encodeExportMessage));
    const decoded: ExportMessage[] = [];
    for (let at = 0; at < bytes.length; at += size) {
      decoded.push(...decoder.push(bytes.subarray(at, at + size), at === 0 ? [77, 78] : []));
    }
    expect(decoded).toEqual(messages);
  });

  it("refuses numbers that a double cannot hold", () => {
    const decoder = new ExportDecoder(LIMITS.MAX_EXPORT_MESSAGE_BYTES, 1, () => undefined);
    const bytes = encodeExportMessage({ type: "release", resource: 1, generation: 2 ** 60 });
    expect(() => [...decoder.push(bytes, [])]).toThrow("generation 1152921504606847000 is not below 2^53");
  });

  it("refuses a text that is too long for a log", () => {
    const decoder = new ExportDecoder(LIMITS.MAX_EXPORT_MESSAGE_BYTES, 1, () => undefined);
    const refused = { type: "refused", request: 1, resource: 2, code: "RESOURCE_UNKNOWN" } as const;
    const text = "é".repeat((LIMITS.MAX_TEXT_BYTES + 1) / 2);
    expect([...decoder.push(encodeExportMessage({ ...refused, text: text.slice(1) }), [])]).toHaveLength(1);
    const long = encodeExportMessage({ ...refused, text });
    expect(() => [...decoder.push(long, [])]).toThrow("text has more than 255 bytes");
  });

  it.each([
    ["without a number", { surface: {} }, "Acquired.surface has no id"],
    ["with extents", { surface: { id: 1 }, extents: [{ memory: 1, length: 1 }] }, "a surface with extents"],
    ["without bytes", { readable: { stride: 4 } }, "Acquired.readable has no bytes"],
    ["that is known", { readable: { bytes: 4 }, known: true }, "a known resource that is described again"],
    ["with a surface", { readable: { bytes: 4 }, surface: { id: 1 } }, "a readable resource with extents"],
  ])("refuses a surface or a readable resource %s", (_what, acquired, text) => {
    const body = vsockenc.ExportMessage.encode({ acquired }).finish();
    const length = Buffer.alloc(4);
    length.writeUInt32LE(body.length);
    const decoder = new ExportDecoder(LIMITS.MAX_EXPORT_MESSAGE_BYTES, 0, () => undefined);
    const push = (): unknown => [...decoder.push(Buffer.concat([length, body]), [])];
    expect(push).toThrow(expect.objectContaining({ name: ExportProtocolError.name }));
    expect(push).toThrow(text);
  });
});
