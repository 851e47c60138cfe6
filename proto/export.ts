/**
 * The export protocol's messages and framing (PROTOCOL.md, "Export protocol"): a byte stream with descriptors on one
 * side, typed messages on the other. Used by exporters and by the relay.
 *
 * A message is a u32 length and a protobuf ExportMessage. The two sides may belong to different users, so lengths are
 * checked before anything is allocated, and every number before it is used.
 */
import { errorText } from "../common/error-text.ts";
import { LIMITS } from "./limits.ts";
import { vsockenc } from "./protobuf.ts";

export interface Rectangle {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** Consecutive bytes of a memory. */
export interface Extent {
  readonly memory: number;
  readonly offset: number;
  readonly length: number;
}

/** A pointer's pixels: red, green, blue, alpha, the colours multiplied by alpha; rows without padding. */
export interface CursorImage {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint8Array;
}

/** Why an Acquire was refused, by the names of export.proto. */
export type ExportErrorCode = keyof typeof vsockenc.ExportErrorCode;

/** Where a resource's pixels are, by the names of buffer.proto: only the program that draws knows. */
export type ResourceContent = keyof typeof vsockenc.Content;

/** A resource that is copied into a slot at each Read. */
export interface Readable {
  /** Bytes from row to row in a slot; 0: the resource has no rows of its own. */
  readonly stride: number;
  /** Size of the copy. */
  readonly bytes: number;
}

/** Where the pixels of a resource are. */
export interface AcquiredResource {
  readonly resource: number;
  /** Which incarnation of the id this is. */
  readonly generation: number;
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  /** VIRTIO_GPU_FORMAT_*, for pictures of heads; a stream gets its layout from the guest. */
  readonly format: number;
  /** The bytes, in order. */
  readonly extents: readonly Extent[];
  /** Number of the IOSurface that has the pixels; there are no extents then. */
  readonly surface?: number | undefined;
  /** There are neither extents nor a surface: the pixels come by Read. */
  readonly readable?: Readable | undefined;
  /** There are none of them, because the relay has the extents of this generation. */
  readonly known?: boolean | undefined;
}

export type ExportMessage =
  | { readonly type: "hello"; readonly version: number; readonly software: string }
  /** `descriptor` belongs to the receiver of a decoded message, and to the sender of one to be sent. */
  | { readonly type: "memory"; readonly memory: number; readonly size: number; readonly descriptor: number }
  | {
      readonly type: "acquire";
      readonly request: number;
      readonly resource: number;
      readonly content: ResourceContent;
      /** How many bytes from the resource's first on are needed; 0: all. */
      readonly bytes: number;
      /** Generation of which the relay has extents for these bytes; without or 0: none. */
      readonly known?: number;
    }
  | ({ readonly type: "acquired"; readonly request: number } & AcquiredResource)
  | {
      readonly type: "refused";
      readonly request: number;
      readonly resource: number;
      readonly code: ExportErrorCode;
      readonly text: string;
    }
  | { readonly type: "release"; readonly resource: number; readonly generation: number }
  | { readonly type: "revoke"; readonly resource: number; readonly generation: number }
  | {
      readonly type: "scanout";
      readonly head: number;
      readonly resource: number;
      readonly rectangle: Rectangle;
    }
  | { readonly type: "damage"; readonly head: number; readonly rectangle: Rectangle }
  /** Without an image no pointer is shown. */
  | { readonly type: "cursorImage"; readonly head: number; readonly image: CursorImage | undefined }
  | { readonly type: "cursorPosition"; readonly head: number; readonly x: number; readonly y: number }
  | {
      readonly type: "read";
      readonly request: number;
      readonly resource: number;
      readonly generation: number;
      readonly slot: number;
    }
  /** `descriptor` as with memory. */
  | { readonly type: "slot"; readonly slot: number; readonly bytes: number; readonly descriptor: number }
  | {
      readonly type: "readDone";
      readonly request: number;
      readonly slot: number;
      /** Undefined: the pixels are in the slot. */
      readonly code: ExportErrorCode | undefined;
      readonly text: string;
      readonly waitUs: number;
      readonly copyUs: number;
    }
  | { readonly type: "free"; readonly slot: number; readonly discard: boolean }
  | { readonly type: "reset" };

/** The peer broke the export protocol; the connection ends. */
export class ExportProtocolError extends Error {
  override readonly name = "ExportProtocolError";
}

const LENGTH_BYTES = 4;

/** Serialises a message with its length. The descriptor of a Memory or Slot message has to be sent along. */
export function encodeExportMessage(message: ExportMessage): Buffer {
  const body = vsockenc.ExportMessage.encode(toProtobuf(message)).finish();
  const framed = Buffer.allocUnsafe(LENGTH_BYTES + body.length);
  framed.writeUInt32LE(body.length, 0);
  framed.set(body, LENGTH_BYTES);
  return framed;
}

function toProtobuf(message: ExportMessage): vsockenc.ExportMessage.$Properties {
  switch (message.type) {
    case "memory":
      return { memory: { memory: message.memory, size: message.size } };
    case "acquire":
      return { acquire: { ...message, content: vsockenc.Content[message.content] } };
    case "acquired": {
      const { surface: id, readable = null, known = false } = message;
      const surface = id === undefined ? null : { id };
      return { acquired: { ...message, extents: [...message.extents], surface, readable, known } };
    }
    case "readDone":
      return {
        readDone: { ...message, code: vsockenc.ExportErrorCode[message.code ?? "EXPORT_ERROR_UNSPECIFIED"] },
      };
    case "refused":
      return { refused: { ...message, code: vsockenc.ExportErrorCode[message.code] } };
    case "cursorImage":
      return { cursorImage: { head: message.head, ...message.image } };
    default:
      return { [message.type]: message };
  }
}

function fail(what: string): never {
  throw new ExportProtocolError(`the peer broke the export protocol: ${what}`);
}

/** A field that is not negative: an absent one is 0, and one that a double cannot hold is rejected. */
function number(value: number | null | undefined, field: string): number {
  const given = value ?? 0;
  return Number.isSafeInteger(given) && given >= 0 ? given : fail(`${field} ${given} is not below 2^53`);
}

function numbers<Name extends string>(
  sent: { readonly [name in Name]?: number | null } | null | undefined,
  ...names: readonly Name[]
): Record<Name, number> {
  const fields = names.map((name) => [name, number(sent?.[name], name)] as const);
  return Object.fromEntries(fields) as Record<Name, number>;
}

const rectangleOf = (sent: vsockenc.Rectangle.$Properties | null | undefined): Rectangle =>
  numbers(sent, "x", "y", "width", "height");

function extentsOf(sent: readonly vsockenc.Extent.$Properties[]): readonly Extent[] {
  if (sent.length > LIMITS.MAX_EXTENTS) fail(`${sent.length} extents, at most ${LIMITS.MAX_EXTENTS}`);
  return sent.map((one) => {
    const extent = numbers(one, "memory", "offset", "length");
    number(extent.offset + extent.length, "offset + length");
    return extent;
  });
}

function surfaceOf({ surface, extents }: vsockenc.Acquired.$Properties): number | undefined {
  if (surface === null || surface === undefined) return undefined;
  const id = number(surface.id, "surface");
  if (id === 0) fail("Acquired.surface has no id");
  if ((extents ?? []).length > 0) fail("a surface with extents");
  return id;
}

function readableOf({ surface, extents, readable }: vsockenc.Acquired.$Properties): Readable | undefined {
  if (readable === null || readable === undefined) return undefined;
  const { stride, bytes } = numbers(readable, "stride", "bytes");
  if (bytes === 0) fail("Acquired.readable has no bytes");
  if ((extents ?? []).length > 0 || surface) fail("a readable resource with extents or a surface");
  return { stride, bytes };
}

function knownOf({ known, extents, surface, readable }: vsockenc.Acquired.$Properties): true | undefined {
  if (!known) return undefined;
  if ((extents ?? []).length > 0 || surface || readable) fail("a known resource that is described again");
  return true;
}

function contentName(content: number | null | undefined): ResourceContent {
  const name = vsockenc.Content[content ?? 0];
  return name !== undefined ? (name as ResourceContent) : fail(`content ${content} is unknown`);
}

function cursorImageOf(sent: vsockenc.CursorImage.$Properties): CursorImage | undefined {
  const { width, height } = numbers(sent, "width", "height");
  const pixels = sent.pixels ?? new Uint8Array(0);
  const side = LIMITS.CURSOR_SIDE;
  if (width > side || height > side || pixels.length !== width * height * 4) {
    fail(`a pointer of ${width}x${height} in ${pixels.length} bytes, at most ${side}x${side}, 4 bytes each`);
  }
  return pixels.length === 0 ? undefined : { width, height, pixels };
}

function text(given: string | null | undefined, field: string): string {
  const sent = given ?? "";
  const limit = LIMITS.MAX_TEXT_BYTES;
  return Buffer.byteLength(sent) <= limit ? sent : fail(`${field} has more than ${limit} bytes`);
}

function codeName(code: number | null | undefined): ExportErrorCode {
  const name = vsockenc.ExportErrorCode[code ?? 0];
  return name !== undefined ? (name as ExportErrorCode) : "EXPORT_ERROR_UNSPECIFIED";
}

type Type = ExportMessage["type"];

/** Messages from their protobuf bodies; `takeDescriptor` gives the next descriptor that was received. */
const DECODERS: {
  readonly [type in Type]: (
    sent: NonNullable<vsockenc.ExportMessage[type]>,
    takeDescriptor: () => number,
  ) => Extract<ExportMessage, { type: type }>;
} = {
  hello: (sent) => ({
    type: "hello",
    ...numbers(sent, "version"),
    software: text(sent.software, "software"),
  }),
  memory: (sent, takeDescriptor) => ({
    type: "memory",
    ...numbers(sent, "memory", "size"),
    descriptor: takeDescriptor(),
  }),
  acquire: (sent) => ({
    type: "acquire",
    ...numbers(sent, "request", "resource", "bytes", "known"),
    content: contentName(sent.content),
  }),
  acquired: (sent) => ({
    type: "acquired",
    ...numbers(sent, "request", "resource", "generation", "width", "height", "format"),
    extents: extentsOf(sent.extents ?? []),
    surface: surfaceOf(sent),
    readable: readableOf(sent),
    known: knownOf(sent),
  }),
  refused: (sent) => ({
    type: "refused",
    ...numbers(sent, "request", "resource"),
    code: codeName(sent.code),
    text: text(sent.text, "text"),
  }),
  release: (sent) => ({ type: "release", ...numbers(sent, "resource", "generation") }),
  revoke: (sent) => ({ type: "revoke", ...numbers(sent, "resource", "generation") }),
  scanout: (sent) => ({
    type: "scanout",
    ...numbers(sent, "head", "resource"),
    rectangle: rectangleOf(sent.rectangle),
  }),
  damage: (sent) => ({ type: "damage", ...numbers(sent, "head"), rectangle: rectangleOf(sent.rectangle) }),
  cursorImage: (sent) => ({ type: "cursorImage", ...numbers(sent, "head"), image: cursorImageOf(sent) }),
  cursorPosition: (sent) => ({
    type: "cursorPosition",
    ...numbers(sent, "head"),
    x: sent.x ?? 0,
    y: sent.y ?? 0,
  }),
  read: (sent) => ({ type: "read", ...numbers(sent, "request", "resource", "generation", "slot") }),
  slot: (sent, takeDescriptor) => ({
    type: "slot",
    ...numbers(sent, "slot", "bytes"),
    descriptor: takeDescriptor(),
  }),
  readDone: (sent) => ({
    type: "readDone",
    ...numbers(sent, "request", "slot", "waitUs", "copyUs"),
    code: sent.code ? codeName(sent.code) : undefined,
    text: text(sent.text, "text"),
  }),
  free: (sent) => ({ type: "free", ...numbers(sent, "slot"), discard: sent.discard ?? false }),
  reset: () => ({ type: "reset" }),
};

/**
 * Turns a connection's bytes and descriptors into messages. Descriptors keep the order of the messages that they
 * belong to, so it does not matter how the bytes are cut.
 */
export class ExportDecoder {
  readonly #maxMessageBytes: number;
  readonly #maxDescriptors: number;
  readonly #closeDescriptor: (fd: number) => void;
  readonly #descriptors: number[] = [];
  readonly #length = Buffer.alloc(LENGTH_BYTES);
  #body: Buffer | undefined;
  /** Bytes that the length, or the body once there is one, has so far. */
  #filled = 0;

  /**
   * @param maxMessageBytes longest body that is accepted
   * @param maxDescriptors descriptors that may wait for their message; 0 where none is expected
   * @param closeDescriptor for those that no message has taken
   */
  constructor(maxMessageBytes: number, maxDescriptors: number, closeDescriptor: (fd: number) => void) {
    this.#maxMessageBytes = maxMessageBytes;
    this.#maxDescriptors = maxDescriptors;
    this.#closeDescriptor = closeDescriptor;
  }

  /**
   * Takes what was received; yields every message that is complete now. Unknown messages are skipped.
   *
   * @throws ExportProtocolError; the connection is to be closed then
   */
  *push(bytes: Uint8Array, descriptors: readonly number[]): Generator<ExportMessage> {
    this.#descriptors.push(...descriptors);
    if (this.#descriptors.length > this.#maxDescriptors) fail("an unexpected descriptor");
    for (let at = 0; at < bytes.length; ) {
      const target = this.#body ?? this.#length;
      const part = bytes.subarray(at, at + target.length - this.#filled);
      target.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled < target.length) return;
      this.#filled = 0;
      if (this.#body === undefined) {
        this.#startBody();
      } else {
        this.#body = undefined;
        const message = this.#decode(target);
        if (message !== undefined) yield message;
      }
    }
  }

  /** Closes the descriptors that no message has taken. */
  close(): void {
    this.#descriptors.splice(0).forEach(this.#closeDescriptor);
  }

  #startBody(): void {
    const length = this.#length.readUInt32LE(0);
    if (length === 0 || length > this.#maxMessageBytes) {
      fail(`a message of ${length} bytes, from 1 to ${this.#maxMessageBytes} are allowed`);
    }
    this.#body = Buffer.alloc(length);
  }

  #decode(body: Buffer): ExportMessage | undefined {
    let decoded: vsockenc.ExportMessage;
    try {
      decoded = vsockenc.ExportMessage.decode(body);
    } catch (error) {
      return fail(errorText(error));
    }
    const type = decoded.message;
    if (type === undefined) return undefined;
    // Type and body belong together, but TypeScript cannot follow that through an index.
    const decode = DECODERS[type] as (sent: unknown, takeDescriptor: () => number) => ExportMessage;
    return decode(
      decoded[type],
      () => this.#descriptors.shift() ?? fail("a Memory or Slot message without its descriptor"),
    );
  }
}
