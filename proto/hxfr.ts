/**
 * HXFR, the protocol of Helix's element and QEMU (HXFR.md): formats of its messages, and a parser of what clients send.
 *
 * Source: gstvsockenc.h and helix-frame-export.h of github.com/helixml/helix, commit 68f96d7. Everything is packed and
 * little-endian. Nothing protects the stream, so the first byte that is not what it should be ends it.
 */
import type { ByteQueue } from "./byte-queue.ts";
import { fourcc, PIXEL_FORMATS } from "./formats.ts";
import { LIMITS } from "./limits.ts";

/** "HXFR" at the start of every header. */
export const HXFR_MAGIC = 0x52465848;
export const HXFR_HEADER_BYTES = 12;
/** FRAME_REQUEST: pixels follow. */
const FLAG_PIXELS = 1;
/** Maximum pixels of a FRAME_REQUEST; all that a session may stage. */
export const MAX_HXFR_PIXEL_BYTES = LIMITS.MAX_INLINE_BYTES;
/** Size of ERROR's text, with at least one NUL. */
const ERROR_TEXT_BYTES = 256;

/** error_code of ERROR. */
export const HXFR_ERRORS = {
  INVALID_MESSAGE: -1,
  RESOURCE_NOT_FOUND: -2,
  ENCODE_FAILED: -5,
  INTERNAL: -99,
} as const;
export type HxfrErrorCode = (typeof HXFR_ERRORS)[keyof typeof HXFR_ERRORS];

/** Integers by their size in bits; a number is that many unused bytes. */
type FieldKind = "u8" | "u32" | "i32" | "i64" | number;
type Field = readonly [name: string, kind: FieldKind];

export interface HxfrMessageFormat {
  /** As Helix names it. */
  readonly name: string;
  readonly type: number;
  /** Of the fixed part of the payload. */
  readonly fields: readonly Field[];
  /** What may follow the fields. */
  readonly tail?: string;
  readonly meaning: string;
}

/** What clients send. */
export const HXFR_REQUESTS = {
  frame: {
    name: "FRAME_REQUEST",
    type: 0x01,
    fields: [
      ["resource", "u32"],
      ["width", "u32"],
      ["height", "u32"],
      ["format", "u32"],
      ["stride", "u32"],
      ["pts", "i64"],
      ["duration", "i64"],
      ["forceKey", "u8"],
      ["reserved", 7],
    ],
    tail: "pixels, if flags is 1",
    meaning: "encode the resource, or the pixels; times in ns, -1 for none",
  },
  config: {
    name: "CONFIG_REQ",
    type: 0x04,
    fields: [
      ["width", "u32"],
      ["height", "u32"],
      ["bitrate", "u32"],
      ["framerateNumerator", "u32"],
      ["framerateDenominator", "u32"],
      ["profile", "u8"],
      ["level", "u8"],
      ["realtime", "u8"],
      ["reserved", 5],
    ],
    meaning: "bit rate in bit/s, profile_idc; answered only if it fails",
  },
  ping: { name: "PING", type: 0x10, fields: [], meaning: "answered by PONG" },
  enableScanout: {
    name: "ENABLE_SCANOUT",
    type: 0x20,
    fields: [
      ["scanout", "u32"],
      ["width", "u32"],
      ["height", "u32"],
      ["refreshRate", "u32"],
    ],
    meaning: "answered by ERROR",
  },
  disableScanout: {
    name: "DISABLE_SCANOUT",
    type: 0x21,
    fields: [["scanout", "u32"]],
    meaning: "answered by ERROR",
  },
  subscribe: { name: "SUBSCRIBE", type: 0x30, fields: [["scanout", "u32"]], meaning: "answered by ERROR" },
} as const satisfies Record<string, HxfrMessageFormat>;

/** What the host sends. */
export const HXFR_REPLIES = {
  packet: {
    name: "FRAME_RESPONSE",
    type: 0x02,
    fields: [
      ["pts", "i64"],
      ["dts", "i64"],
      ["key", "u8"],
      ["reserved", 3],
      ["count", "u32"],
    ],
    tail: "count times a u32 of size and an access unit in Annex B",
    meaning: "the encoded frame; pts and dts are the request's pts, count is 1",
  },
  pong: { name: "PONG", type: 0x11, fields: [], meaning: "the host is there" },
  error: {
    name: "ERROR",
    type: 0xff,
    fields: [
      ["code", "i32"],
      ["text", ERROR_TEXT_BYTES],
    ],
    meaning: "the request failed; the text ends with NUL",
  },
} as const satisfies Record<string, HxfrMessageFormat>;

type Requests = typeof HXFR_REQUESTS;
type NamedNumbers<Fields extends readonly Field[]> = {
  readonly [Each in Fields[number] as Each[1] extends number ? never : Each[0]]: Each[1] extends "i64"
    ? bigint
    : number;
};

/** A request: `{ type: "frame", resource, width, … }`. */
export type HxfrRequest = {
  [Name in keyof Requests]: { readonly type: Name } & NamedNumbers<Requests[Name]["fields"]>;
}[keyof Requests];
export type HxfrFrame = Extract<HxfrRequest, { type: "frame" }>;
export type HxfrConfig = Extract<HxfrRequest, { type: "config" }>;

/** The formats of frames, which Helix calls BGRA8888, RGBA8888 and NV12. */
export const HXFR_PIXEL_FORMATS = PIXEL_FORMATS.filter(({ name }) =>
  ["BGRA", "RGBA", "NV12"].includes(name),
).map((format) => ({ ...format, fourcc: fourcc(format.drm) }));

const FIELD_BYTES = { u8: 1, u32: 4, i32: 4, i64: 8 } as const;
const fieldBytes = (kind: FieldKind): number => (typeof kind === "number" ? kind : FIELD_BYTES[kind]);

/** Size of the fixed part of a message, with the header. */
export function hxfrMessageBytes({ fields }: HxfrMessageFormat): number {
  return fields.reduce((sum, [, kind]) => sum + fieldBytes(kind), HXFR_HEADER_BYTES);
}

/** The bytes are no request of HXFR. What follows them cannot be understood. */
export class HxfrFormatError extends Error {
  override readonly name = "HxfrFormatError";
}

export type HxfrEvent =
  | {
      readonly kind: "request";
      /** The client's number, returned in the reply. */
      readonly session: number;
      readonly request: HxfrRequest;
      /** How many bytes of pixels follow; undefined for a frame that is in a resource, and for other requests. */
      readonly pixelBytes: number | undefined;
    }
  | { readonly kind: "pixels"; readonly bytes: Buffer; readonly last: boolean };

const FORMATS: readonly (readonly [keyof Requests, HxfrMessageFormat])[] = [
  ["frame", HXFR_REQUESTS.frame],
  ["config", HXFR_REQUESTS.config],
  ["ping", HXFR_REQUESTS.ping],
  ["enableScanout", HXFR_REQUESTS.enableScanout],
  ["disableScanout", HXFR_REQUESTS.disableScanout],
  ["subscribe", HXFR_REQUESTS.subscribe],
];

const hex = (value: number): string => `0x${value.toString(16)}`;

/** Finds requests in a byte stream. */
export class HxfrParser {
  /** Pixels of the last frame that have not been returned yet. */
  #pixelsLeft = 0;

  /**
   * Takes the next complete request, or some pixels of the last one, which are a view of the bytes in `input`.
   *
   * @returns undefined until there are more bytes
   * @throws HxfrFormatError, and again at every later call
   */
  next(input: ByteQueue): HxfrEvent | undefined {
    if (this.#pixelsLeft > 0) return this.#pixels(input);
    const { bytes } = input;
    if (bytes.length < HXFR_HEADER_BYTES) return undefined;
    const { name, format, session, pixelBytes } = readHeader(bytes);
    const size = hxfrMessageBytes(format);
    if (bytes.length < size) return undefined;
    input.drop(size);
    this.#pixelsLeft = pixelBytes ?? 0;
    // Name and fields belong together in the union, but TypeScript cannot follow that through the table.
    const request = { type: name, ...readFields(format, bytes) } as HxfrRequest;
    return { kind: "request", session, request, pixelBytes };
  }

  #pixels(input: ByteQueue): HxfrEvent | undefined {
    const bytes = input.bytes.subarray(0, this.#pixelsLeft);
    if (bytes.length === 0) return undefined;
    input.drop(bytes.length);
    this.#pixelsLeft -= bytes.length;
    return { kind: "pixels", bytes, last: this.#pixelsLeft === 0 };
  }
}

/** @throws HxfrFormatError */
function readHeader(bytes: Buffer) {
  const magic = bytes.readUInt32LE(0);
  const type = bytes.readUInt8(4);
  const flags = bytes.readUInt8(5);
  const session = bytes.readUInt16LE(6);
  const payload = bytes.readUInt32LE(8);
  if (magic !== HXFR_MAGIC) {
    throw new HxfrFormatError(`magic is ${hex(magic)}; expected ${hex(HXFR_MAGIC)} (HXFR)`);
  }
  const [name, format] = FORMATS.find(([, { type: each }]) => each === type) ?? [];
  if (name === undefined || format === undefined) {
    const known = FORMATS.map(([, each]) => `${hex(each.type)} (${each.name})`).join(", ");
    throw new HxfrFormatError(`message type is ${hex(type)}; expected ${known}`);
  }
  const hasPixels = name === "frame" && flags === FLAG_PIXELS;
  if (flags !== 0 && !hasPixels) {
    throw new HxfrFormatError(
      `flags of ${format.name} is ${flags}; expected 0${name === "frame" ? " or 1" : ""}`,
    );
  }
  const least = hxfrMessageBytes(format) - HXFR_HEADER_BYTES;
  const most = hasPixels ? least + MAX_HXFR_PIXEL_BYTES : least;
  if (payload < least || payload > most) {
    const expected = least === most ? `${least}` : `${least} to ${most}`;
    throw new HxfrFormatError(`payload_size of ${format.name} is ${payload}; expected ${expected} bytes`);
  }
  return { name, format, session, pixelBytes: hasPixels ? payload - least : undefined };
}

function readFields({ fields }: HxfrMessageFormat, bytes: Buffer): Record<string, number | bigint> {
  const values: Record<string, number | bigint> = {};
  let at = HXFR_HEADER_BYTES;
  for (const [name, kind] of fields) {
    if (kind === "i64") values[name] = bytes.readBigInt64LE(at);
    else if (kind === "u32") values[name] = bytes.readUInt32LE(at);
    else if (kind === "u8") values[name] = bytes.readUInt8(at);
    at += fieldBytes(kind);
  }
  return values;
}

function reply(format: HxfrMessageFormat, session: number, tailBytes = 0): Buffer {
  const size = hxfrMessageBytes(format);
  const bytes = Buffer.alloc(size);
  bytes.writeUInt32LE(HXFR_MAGIC, 0);
  bytes.writeUInt8(format.type, 4);
  bytes.writeUInt16LE(session, 6);
  bytes.writeUInt32LE(size - HXFR_HEADER_BYTES + tailBytes, 8);
  return bytes;
}

/** A PONG. */
export function encodeHxfrPong(session: number): Buffer {
  return reply(HXFR_REPLIES.pong, session);
}

/** An ERROR; a text that is too long is cut. */
export function encodeHxfrError(session: number, code: HxfrErrorCode, text: string): Buffer {
  const bytes = reply(HXFR_REPLIES.error, session);
  bytes.writeInt32LE(code, HXFR_HEADER_BYTES);
  bytes.write(text, HXFR_HEADER_BYTES + 4, ERROR_TEXT_BYTES - 1);
  return bytes;
}

/**
 * The head of a FRAME_RESPONSE; the caller writes the access unit behind it, uncopied.
 *
 * @param pts of the request, in ns
 */
export function encodeHxfrPacketHead(session: number, pts: bigint, key: boolean, size: number): Buffer {
  const head = reply(HXFR_REPLIES.packet, session, 4 + size);
  head.writeBigInt64LE(pts, HXFR_HEADER_BYTES);
  // No frame is reordered.
  head.writeBigInt64LE(pts, HXFR_HEADER_BYTES + 8);
  head.writeUInt8(key ? 1 : 0, HXFR_HEADER_BYTES + 16);
  head.writeUInt32LE(1, HXFR_HEADER_BYTES + 20);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(size);
  return Buffer.concat([head, length]);
}
