/** A machine without VideoToolbox, and the protocol messages that name a surface. */
import { describe, expect, it } from "vitest";
import { createBackend } from "../../../host/encoders/index.ts";
import { hasVideoToolbox } from "../../../host/encoders/native.ts";
import { Picture, SurfaceUnsupportedError } from "../../../host/native/picture.ts";
import {
  ExportDecoder,
  type ExportMessage,
  ExportProtocolError,
  encodeExportMessage,
} from "../../../proto/export.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { vsockenc } from "../../../proto/protobuf.ts";
import { configurationOf } from "../encoders/support/encode.ts";
import { Recorder } from "../encoders/support/recorder.ts";

describe.skipIf(hasVideoToolbox())("without VideoToolbox", () => {
  it("the back end offers nothing, and reports the reason when it is requested", async () => {
    const reported: string[] = [];
    const backend = createBackend(["videotoolbox"], {
      onUnavailable: (encoder, reason) => reported.push(`${encoder}: ${reason}`),
    });
    expect(await backend.offers()).toEqual([]);
    expect(reported).toEqual(["videotoolbox: it needs macOS: this host's native addon was built without it"]);
    await expect(backend.open(configurationOf(), new Recorder().listener)).rejects.toThrow(
      "no encoder for h264 320x240: videotoolbox: it needs macOS: this host's native addon was built without it",
    );
  });

  it("a surface is rejected", async () => {
    const planes = [{ memory: { surface: 5 }, offset: 0, stride: 256 }];
    const visible = { x: 0, y: 0, width: 64, height: 64 };
    const map = Picture.map({ width: 64, height: 64, fourcc: 0x34325258, planes, visible });
    await expect(map).rejects.toThrow(SurfaceUnsupportedError);
    await expect(map).rejects.toThrow(/IOSurface 5, which needs macOS/);
  });
});

const ACQUIRED = {
  type: "acquired",
  ...{ request: 1, resource: 2, generation: 3, width: 4, height: 5, format: 6, extents: [] },
} as const;

function decodeOnly(bytes: Uint8Array): ExportMessage {
  const decoder = new ExportDecoder(LIMITS.MAX_EXPORT_MESSAGE_BYTES, 0, () => undefined);
  const [message] = decoder.push(bytes, []);
  if (message === undefined) throw new Error("no message");
  return message;
}

/** A message that encodeExportMessage does not make. */
function framed(acquired: vsockenc.Acquired.$Properties): Buffer {
  const body = vsockenc.ExportMessage.encode({ acquired }).finish();
  const length = Buffer.alloc(4);
  length.writeUInt32LE(body.length);
  return Buffer.concat([length, body]);
}

describe("Acquired", () => {
  it("names a surface, or extents", () => {
    const surface = { ...ACQUIRED, surface: 0xffffffff };
    expect(decodeOnly(encodeExportMessage(surface))).toEqual(surface);
    const memory = { ...ACQUIRED, extents: [{ memory: 1, offset: 2, length: 3 }] };
    expect(decodeOnly(encodeExportMessage(memory))).toEqual({ ...memory, surface: undefined });
  });

  it.each([
    ["a surface without a number", { surface: {} }, /Acquired\.surface has no id/],
    [
      "a surface and extents",
      { surface: { id: 1 }, extents: [{ memory: 1, length: 1 }] },
      /a surface with extents/,
    ],
  ])("with %s breaks the protocol", (_what, acquired, text) => {
    expect(() => decodeOnly(framed(acquired))).toThrow(ExportProtocolError);
    expect(() => decodeOnly(framed(acquired))).toThrow(text);
  });
});
