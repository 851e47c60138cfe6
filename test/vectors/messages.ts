/**
 * The messages behind wire.json, one of each type with every field set. `npx tsx test/vectors/messages.ts` writes
 * the file; that is only right after a deliberate change of the protocol, as both codecs are tested against it.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { fourcc } from "../../proto/formats.ts";
import { type Envelope, encodeDataHead, encodeMessage } from "../../proto/framing.ts";
import type { OutgoingMessage } from "../../proto/messages.ts";

/** A message, or a Data chunk, and the bytes it has on the wire. */
export interface Vector {
  readonly name: string;
  readonly envelope: Envelope;
  readonly message: OutgoingMessage | { type: "data"; frame: number; offset: number; bytesHex: string };
  readonly hex: string;
}

const FILE = fileURLToPath(new URL("wire.json", import.meta.url));

/** The committed vectors. */
export function readVectors(): Vector[] {
  return JSON.parse(readFileSync(FILE, "utf8")) as Vector[];
}

const XR24 = fourcc("XR24");

const MESSAGES: readonly OutgoingMessage[] = [
  { type: "greeting", body: { hostBootId: 0x01020304 } },
  {
    type: "hello",
    body: { versionMin: 1, versionMax: 3, features: 5, windowBytes: 262144, software: "vsockenc 1" },
  },
  {
    type: "welcome",
    body: {
      version: 1,
      features: 1,
      hostBootId: 0xfffefdfc,
      windowBytes: 131072,
      maxAttached: 64,
      maxInFlight: 8,
      resources: true,
      software: "vsockenc 1",
      encoders: [
        { name: "libx264", codec: 1, maxWidth: 16384, maxHeight: 8192, hardware: false, profiles: [1, 2, 3] },
        { name: "hevc_vaapi", codec: 2, maxWidth: 4096, maxHeight: 4096, hardware: true, profiles: [16] },
      ],
      modifiers: [
        { high: 0x01000000, low: 2 },
        { high: 0x00ffffff, low: 0xffffffff },
      ],
    },
  },
  { type: "ping", body: { token: 77 } },
  { type: "pong", body: { token: 0xffffffff } },
  { type: "bye", body: { text: "Grüße" } },
  { type: "credit", body: { grantedBytes: 2 ** 52 + 1 } },
  { type: "error", body: { code: 4, text: "resource 9 does not exist", fatal: true, subject: 2, id: 63 } },
  {
    type: "configure",
    body: {
      serial: 3,
      codec: 1,
      width: 1366,
      height: 768,
      framerateNumerator: 30000,
      framerateDenominator: 1001,
      bitrateKbps: 4000,
      keyframeInterval: 60,
      colorimetry: { primaries: 1, transfer: 13, matrix: 6, fullRange: true },
      parNumerator: 4,
      parDenominator: 3,
      profile: 3,
      levels: [40, 41, 42],
      rateControl: 2,
    },
  },
  {
    type: "configured",
    body: {
      serial: 3,
      encoder: "libx264",
      hardware: true,
      width: 1366,
      height: 768,
      colorimetry: { primaries: 1, transfer: 13, matrix: 6, fullRange: true },
      bitrateKbps: 4000,
      keyframeInterval: 60,
    },
  },
  { type: "drain", body: { token: 1 } },
  { type: "drained", body: { token: 1 } },
  { type: "flush", body: { token: 2 } },
  { type: "flushed", body: { token: 2 } },
  {
    type: "attach",
    body: {
      buffer: 7,
      width: 1920,
      height: 1088,
      fourcc: XR24,
      modifierHigh: 0x00ffffff,
      modifierLow: 0xffffffff,
      planes: [
        { resource: 12, offset: 4096, stride: 7680 },
        { resource: 0xffffffff, offset: 2 ** 40, stride: 4 },
      ],
      visible: { x: 1, y: 2, width: 1919, height: 1080 },
      content: 2,
    },
  },
  { type: "attached", body: { buffer: 7, tier: 1, runs: 17 } },
  { type: "detach", body: { buffer: 7 } },
  { type: "probe", body: { buffer: 7 } },
  { type: "probed", body: { buffer: 7, crc: 0xcafebabe, bytes: 2 ** 33 } },
  {
    type: "frame",
    body: {
      frame: 300,
      buffer: 7,
      configuration: 3,
      ptsNs: 3_600_000_000_000,
      durationNs: 33_333_333,
      forceKey: true,
      inlineBytes: 3_686_400,
    },
  },
  { type: "frameDone", body: { frame: 300 } },
  {
    type: "packet",
    body: { frame: 300, size: 20833, key: true, queueUs: 12, convertUs: 345, encodeUs: 6789, readUs: 910 },
  },
  { type: "dropped", body: { frame: 300, reason: 1 } },
];

function vectors(): Vector[] {
  const protobuf = MESSAGES.map((message, index): Vector => {
    const unnumbered = ["greeting", "hello", "welcome"].includes(message.type);
    const epoch = message.type === "greeting" ? 0 : 0xc0ffee01;
    const envelope = { epoch, sequence: unnumbered ? 0 : index + 1, stream: 0 };
    return { name: message.type, envelope, message, hex: encodeMessage(message, envelope).toString("hex") };
  });
  const envelope = { epoch: 0xc0ffee01, sequence: 99, stream: 0 };
  const bytes = Buffer.from("00000001650102ff", "hex");
  const data = Buffer.concat([encodeDataHead(300, 32736, bytes, envelope), bytes]);
  const message = { type: "data", frame: 300, offset: 32736, bytesHex: bytes.toString("hex") } as const;
  return [...protobuf, { name: "data", envelope, message, hex: data.toString("hex") }];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(FILE, `${JSON.stringify(vectors(), undefined, 2)}\n`);
}
