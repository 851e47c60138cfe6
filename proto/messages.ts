/**
 * The messages between guest and relay as a discriminated union, and their codecs by type byte.
 */
import { errorText } from "../common/error-text.ts";
import { FIELD_BOUNDS, LIMITS } from "./limits.ts";
import { vsockenc } from "./protobuf.ts";

const { MessageType } = vsockenc;

/** Name, type byte and protobuf codec of every message but Data, which is not protobuf. */
const BODIES = {
  greeting: { id: MessageType.GREETING, codec: vsockenc.Greeting },
  hello: { id: MessageType.HELLO, codec: vsockenc.Hello },
  welcome: { id: MessageType.WELCOME, codec: vsockenc.Welcome },
  ping: { id: MessageType.PING, codec: vsockenc.Ping },
  pong: { id: MessageType.PONG, codec: vsockenc.Pong },
  bye: { id: MessageType.BYE, codec: vsockenc.Bye },
  credit: { id: MessageType.CREDIT, codec: vsockenc.Credit },
  error: { id: MessageType.ERROR, codec: vsockenc.Error },
  configure: { id: MessageType.CONFIGURE, codec: vsockenc.Configure },
  configured: { id: MessageType.CONFIGURED, codec: vsockenc.Configured },
  drain: { id: MessageType.DRAIN, codec: vsockenc.Drain },
  drained: { id: MessageType.DRAINED, codec: vsockenc.Drained },
  flush: { id: MessageType.FLUSH, codec: vsockenc.Flush },
  flushed: { id: MessageType.FLUSHED, codec: vsockenc.Flushed },
  attach: { id: MessageType.ATTACH, codec: vsockenc.Attach },
  attached: { id: MessageType.ATTACHED, codec: vsockenc.Attached },
  detach: { id: MessageType.DETACH, codec: vsockenc.Detach },
  probe: { id: MessageType.PROBE, codec: vsockenc.Probe },
  probed: { id: MessageType.PROBED, codec: vsockenc.Probed },
  frame: { id: MessageType.FRAME, codec: vsockenc.Frame },
  frameDone: { id: MessageType.FRAME_DONE, codec: vsockenc.FrameDone },
  packet: { id: MessageType.PACKET, codec: vsockenc.Packet },
  dropped: { id: MessageType.DROPPED, codec: vsockenc.Dropped },
} as const;

type Bodies = typeof BODIES;

/** A protobuf message of the wire protocol: `{ type: "frame", body: { frame, buffer, … } }`. */
export type ProtobufMessage = {
  [Name in keyof Bodies]: { readonly type: Name; readonly body: InstanceType<Bodies[Name]["codec"]> };
}[keyof Bodies];

/** A chunk of the bulk bytes of a frame. `bytes` is a view, valid until the receiver returns. */
export interface DataMessage {
  readonly type: "data";
  readonly frame: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export type Message = ProtobufMessage | DataMessage;

/** A protobuf message to send; absent fields have their default values. */
export type OutgoingMessage = {
  [Name in keyof Bodies]: {
    readonly type: Name;
    readonly body: Partial<InstanceType<Bodies[Name]["codec"]>>;
  };
}[keyof Bodies];

/** The body is not what the type says, or a field is outside its bounds. */
export class MessageFormatError extends Error {
  override readonly name = "MessageFormatError";
}

const NAME_BY_ID = new Map<number, keyof Bodies>(
  Object.entries(BODIES).map(([name, { id }]) => [id, name as keyof Bodies]),
);

/** The texts of a message, with their bounds in bytes. */
const TEXTS = new Map(
  Object.keys(BODIES).map((type) => [
    type,
    Object.entries(FIELD_BOUNDS).flatMap(([path, bound]) => {
      const [message = "", field = ""] = path.split(".");
      const isOwn = message.toLowerCase() === type.toLowerCase() && "max_length" in bound;
      return isOwn ? [{ field, limit: LIMITS[bound.max_length] }] : [];
    }),
  ]),
);

/** What a terminal or a log would take for more than text: control and format characters, line separators. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** Type byte of a message. */
export function messageId(type: Message["type"]): number {
  return type === "data" ? MessageType.DATA : BODIES[type].id;
}

/** Serialises the body of a protobuf message. */
export function encodeBody(message: OutgoingMessage): Uint8Array {
  // Type and body belong together in the union, but TypeScript cannot follow that through an index.
  const codec = BODIES[message.type].codec as { encode(body: unknown): { finish(): Uint8Array } };
  return codec.encode(message.body).finish();
}

/**
 * Parses a body. Texts are within their bounds, and unprintable characters of them are replaced by U+FFFD.
 *
 * @param id type byte of the header
 * @returns undefined for a type that this version does not know; the receiver skips it.
 * @throws MessageFormatError
 */
export function decodeBody(id: number, body: Uint8Array): Message | undefined {
  if (id === MessageType.DATA) return decodeData(body);
  const type = NAME_BY_ID.get(id);
  if (type === undefined) return undefined;
  let message: ProtobufMessage;
  try {
    message = { type, body: BODIES[type].codec.decode(body) } as ProtobufMessage;
  } catch (error) {
    throw new MessageFormatError(`${type}: ${errorText(error)}`);
  }
  checkTexts(message);
  return message;
}

function checkTexts({ type, body }: ProtobufMessage): void {
  for (const { field, limit } of TEXTS.get(type) ?? []) {
    const text = String(Reflect.get(body, field));
    const bytes = Buffer.byteLength(text);
    if (bytes > limit) throw new MessageFormatError(`${type}.${field} has ${bytes} bytes, limit ${limit}`);
    Reflect.set(body, field, text.replace(UNPRINTABLE, "\uFFFD"));
  }
}

function decodeData(body: Uint8Array): DataMessage {
  if (body.length < LIMITS.DATA_PREFIX_BYTES) {
    throw new MessageFormatError(
      `data: ${body.length} bytes, less than its prefix of ${LIMITS.DATA_PREFIX_BYTES}`,
    );
  }
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  return {
    type: "data",
    frame: view.getUint32(0, true),
    offset: view.getUint32(4, true),
    bytes: body.subarray(LIMITS.DATA_PREFIX_BYTES),
  };
}
