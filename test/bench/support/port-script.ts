/** What test/guest/port-ping.c writes to a port: whole messages, prepared on the host. */
import { fourcc } from "../../../proto/formats.ts";
import { encodeDataHead, encodeMessage } from "../../../proto/framing.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { type Message, messageId, type OutgoingMessage } from "../../../proto/messages.ts";
import { vsockenc } from "../../../proto/protobuf.ts";
import type { Exchange } from "./echo-client.ts";
import type { StreamSize } from "./guest.ts";

const XR24 = fourcc("XR24");
const FRAME_NS = 16_666_667;
const WINDOW = 1 << 24;
/** As long as the null encoder's packets between key frames. */
const PACKET = Buffer.alloc(7, 1);

function record(bytes: Uint8Array, awaited: Message["type"] | undefined): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(bytes.length, 0);
  head.writeUInt32LE(awaited === undefined ? 0 : messageId(awaited), 4);
  return Buffer.concat([head, bytes]);
}

const frameMessage = (frame: number): OutgoingMessage => ({
  type: "frame",
  body: { frame, buffer: 0, configuration: 1, ptsNs: (frame + 1) * FRAME_NS, durationNs: FRAME_NS },
});

/** A whole session: opening, one buffer of `resource`, `frames` frames one after the other, goodbye. */
export function relayScript(epoch: number, size: StreamSize, resource: number, frames: number): Buffer {
  const records: Buffer[] = [];
  let sequence = 0;
  const say = (message: OutgoingMessage, awaited?: Message["type"]): void => {
    records.push(record(encodeMessage(message, { epoch, sequence, stream: 0 }), awaited));
    sequence += 1;
  };
  const hello = {
    versionMin: LIMITS.PROTOCOL_VERSION,
    versionMax: LIMITS.PROTOCOL_VERSION,
    windowBytes: WINDOW,
    software: "bench",
  };
  say({ type: "hello", body: hello }, "welcome");
  const rate = { framerateNumerator: 60, framerateDenominator: 1, bitrateKbps: 8000 };
  say({ type: "configure", body: { serial: 1, codec: vsockenc.Codec.H264, ...size, ...rate } }, "configured");
  const planes = [{ resource, stride: size.width * 4 }];
  say({ type: "attach", body: { buffer: 0, ...size, fourcc: XR24, planes } }, "attached");
  for (let frame = 0; frame < frames; frame += 1) say(frameMessage(frame), "data");
  say({ type: "bye", body: { text: "measured" } });
  return Buffer.concat(records);
}

/** A Frame and the three messages that a relay sends for it, to be exchanged with an echo. */
export function echoExchange(): Exchange {
  const frame = 100;
  const envelope = { epoch: 1, sequence: 1, stream: 0 };
  const packet = { frame, size: PACKET.length, queueUs: 20 };
  return {
    request: encodeMessage(frameMessage(frame), envelope),
    answer: Buffer.concat([
      encodeMessage({ type: "frameDone", body: { frame } }, envelope),
      encodeMessage({ type: "packet", body: packet }, envelope),
      encodeDataHead(frame, 0, PACKET, envelope),
      PACKET,
    ]),
  };
}

/** The same request `frames` times. */
export function echoScript({ request }: Exchange, frames: number): Buffer {
  return Buffer.concat(Array.from({ length: frames }, () => record(request, "data")));
}

/** Microseconds of the frames' round trips, from what port-ping has printed. */
export function frameTimes(printed: string): number[] {
  const data = String(messageId("data"));
  return printed
    .trim()
    .split("\n")
    .map((line) => line.split(" "))
    .flatMap(([type, time]) => (type === data ? [Number(time)] : []));
}
