/**
 * The messages between a viewer and its server as discriminated unions, with their codecs. The page uses it too, so it
 * must not need Node.
 */
import { errorText } from "../common/error-text.ts";
import { vsockenc } from "./protobuf.ts";

const { viewer } = vsockenc;

interface ViewerBodies {
  hello: InstanceType<typeof viewer.ViewerHello>;
  watch: InstanceType<typeof viewer.Watch>;
  keyFrameRequest: InstanceType<typeof viewer.KeyFrameRequest>;
  report: InstanceType<typeof viewer.Report>;
  ping: InstanceType<typeof viewer.ViewerPing>;
  pointer: InstanceType<typeof viewer.Pointer>;
  key: InstanceType<typeof viewer.Key>;
}

interface ServerBodies {
  hello: InstanceType<typeof viewer.ServerHello>;
  sources: InstanceType<typeof viewer.Sources>;
  configuration: InstanceType<typeof viewer.StreamConfiguration>;
  accessUnit: InstanceType<typeof viewer.AccessUnit>;
  state: InstanceType<typeof viewer.State>;
  statistics: InstanceType<typeof viewer.Statistics>;
  thumbnail: InstanceType<typeof viewer.Thumbnail>;
  cursor: InstanceType<typeof viewer.Cursor>;
  pong: InstanceType<typeof viewer.ServerPong>;
}

type Union<Bodies> = {
  [Name in keyof Bodies]: { readonly type: Name; readonly body: Bodies[Name] };
}[keyof Bodies];
type Outgoing<Bodies> = {
  [Name in keyof Bodies]: { readonly type: Name; readonly body: Partial<Bodies[Name]> };
}[keyof Bodies];

/** From a viewer: `{ type: "watch", body: { source } }`. */
export type ViewerMessage = Union<ViewerBodies>;
/** From a server: `{ type: "accessUnit", body: { number, data, … } }`. */
export type ServerMessage = Union<ServerBodies>;
/** A message to send; absent fields have their default values. */
export type OutgoingViewerMessage = Outgoing<ViewerBodies>;
export type OutgoingServerMessage = Outgoing<ServerBodies>;

/** The bytes are not a known message. */
export class ViewerMessageError extends Error {
  override readonly name = "ViewerMessageError";
}

export function encodeViewerMessage({ type, body }: OutgoingViewerMessage): Uint8Array {
  return viewer.ViewerMessage.encode({ [type]: body }).finish();
}

export function encodeServerMessage({ type, body }: OutgoingServerMessage): Uint8Array {
  return viewer.ServerMessage.encode({ [type]: body }).finish();
}

/** @throws ViewerMessageError */
export function decodeViewerMessage(bytes: Uint8Array): ViewerMessage {
  return decode(viewer.ViewerMessage, bytes) as ViewerMessage;
}

/** @throws ViewerMessageError */
export function decodeServerMessage(bytes: Uint8Array): ServerMessage {
  return decode(viewer.ServerMessage, bytes) as ServerMessage;
}

interface Envelope {
  readonly message?: string;
}

function decode(
  codec: { decode(bytes: Uint8Array): Envelope },
  bytes: Uint8Array,
): { type: string; body: unknown } {
  let envelope: Envelope;
  try {
    envelope = codec.decode(bytes);
  } catch (error) {
    throw new ViewerMessageError(`it does not parse: ${errorText(error)}`);
  }
  const type = envelope.message;
  if (type === undefined)
    throw new ViewerMessageError("it is empty, or of a kind that version 1 does not have");
  return { type, body: (envelope as Record<string, unknown>)[type] };
}
