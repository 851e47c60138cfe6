/**
 * What the element promises to applications: properties, enums, caps and metadata, each with its documentation.
 *
 * This is the single truth. `generate.ts` turns it into the C that registers them, the TypeScript types and the
 * tables of docs/element.md.
 */
import { LIMITS } from "../../proto/limits.ts";

/** One value of an enum property. */
export interface EnumValue {
  /** The text used in pipelines, lower case with hyphens. */
  readonly nick: string;
  readonly blurb: string;
}

export interface EnumSpec {
  readonly blurb: string;
  readonly values: readonly EnumValue[];
}

interface PropertyBase {
  readonly name: string;
  /** Shown by gst-inspect; names the unit where there is one. */
  readonly blurb: string;
  /** More for the documentation page, in whole sentences. */
  readonly details?: string;
  /** ready: settable below PAUSED. playing: settable at any time. never: read-only. */
  readonly mutable: "ready" | "playing" | "never";
  readonly since: string;
}

export interface UintProperty extends PropertyBase {
  readonly type: "uint";
  readonly minimum: number;
  readonly maximum: number;
  readonly default: number;
  readonly unit?: string;
}

export interface StringProperty extends PropertyBase {
  readonly type: "string";
  /** What an unset (NULL) value means. */
  readonly unset: string;
}

export interface EnumProperty extends PropertyBase {
  readonly type: "enum";
  readonly of: string;
  readonly default: string;
}

export interface StructureProperty extends PropertyBase {
  readonly type: "structure";
}

export interface BooleanProperty extends PropertyBase {
  readonly type: "boolean";
  readonly default: boolean;
}

export type PropertySpec = UintProperty | StringProperty | EnumProperty | StructureProperty;

/** What the generator knows: also what the plugin's other elements have. */
export type AnyPropertySpec = PropertySpec | BooleanProperty;

export const METADATA = {
  factory: "vsockenc",
  longName: "Virtual machine video encoder",
  klass: "Codec/Encoder/Video/Hardware",
  description:
    "Encodes video on the host of a virtual machine: sends the virtio-gpu resource ids of frames, receives H.264 or H.265",
  author: "The vsockenc authors",
} as const;

/** Enums by their name in C, without the prefix GstVsockEnc. */
export const ENUMS = {
  Drop: {
    blurb: "What happens to a frame that the host has no room for",
    values: [
      { nick: "auto", blurb: "newest in a live pipeline, never in another" },
      { nick: "never", blurb: "upstream waits; no frame is lost" },
      { nick: "newest", blurb: "one frame waits, and a newer one replaces it" },
    ],
  },
  OnDisconnect: {
    blurb: "What a lost host means to the pipeline",
    values: [
      { nick: "resume", blurb: "a warning; the stream goes on with a key frame when the host is back" },
      { nick: "error", blurb: "an error" },
    ],
  },
  RateControl: {
    blurb: "How strictly the bit rate is kept",
    values: [
      { nick: "cbr", blurb: "never more than the bit rate, over one second: for streaming" },
      { nick: "vbr", blurb: "the bit rate on average, for a while up to twice of it: for recording" },
    ],
  },
  Source: {
    blurb: "How the host reaches the pixels",
    values: [
      { nick: "none", blurb: "no frame has been sent yet" },
      { nick: "resource", blurb: "read in place from the virtio-gpu resource" },
      { nick: "resource-copy", blurb: "the same, after the element has copied the frame into one" },
      { nick: "resource-gather", blurb: "copied together by the host from the resource's scattered pages" },
      { nick: "inline", blurb: "sent over the link with each frame" },
    ],
  },
} as const satisfies Record<string, EnumSpec>;

/** The enum of a property, which must have the property's default. */
export function enumOf(property: EnumProperty, enums: Readonly<Record<string, EnumSpec>> = ENUMS): EnumSpec {
  const found = enums[property.of];
  if (!found) throw new Error(`spec.ts: property ${property.name} has the unknown enum ${property.of}`);
  if (!found.values.some((value) => value.nick === property.default)) {
    throw new Error(`spec.ts: property ${property.name}: ${property.default} is no value of ${property.of}`);
  }
  return found;
}

export const PROPERTIES: readonly PropertySpec[] = [
  {
    name: "device",
    type: "string",
    unset: "the first free one of org.vsockenc.0 to org.vsockenc.3",
    blurb: "Port to the host: a path, or a name below /dev/virtio-ports (unset = first free org.vsockenc.N)",
    mutable: "ready",
    since: "0.1",
  },
  {
    name: "socket-path",
    type: "string",
    unset: "the virtserialport is used",
    blurb: "UNIX socket to the relay, in place of a port of the virtual machine",
    details: "Takes precedence over every other way to the host.",
    mutable: "ready",
    since: "0.1",
  },
  {
    name: "tcp-host",
    type: "string",
    unset: "TCP is not used",
    blurb: "Host of the relay's TCP listener: a name or an address",
    details: "Takes precedence over vsock and `device`.",
    mutable: "ready",
    since: "0.1",
  },
  {
    name: "tcp-port",
    type: "uint",
    minimum: 1,
    maximum: 65_535,
    default: 15_937,
    blurb: "Port of the relay's TCP listener, with tcp-host",
    mutable: "ready",
    since: "0.1",
  },
  {
    name: "cid",
    type: "uint",
    minimum: 0,
    maximum: 4_294_967_295,
    default: 2,
    blurb: "vsock context of the relay; 2 is the host",
    details: "Setting `cid` or `port` chooses vsock, before `device`.",
    mutable: "ready",
    since: "0.1",
  },
  {
    name: "port",
    type: "uint",
    minimum: 0,
    maximum: 4_294_967_295,
    default: 5000,
    blurb: "vsock port of the relay",
    details: "Setting `cid` or `port` chooses vsock, before `device`.",
    mutable: "ready",
    since: "0.1",
  },
  {
    name: "connect-timeout",
    type: "uint",
    minimum: 100,
    maximum: 60_000,
    default: 5_000,
    unit: "ms",
    blurb: "Longest wait for the host when the element is opened, in milliseconds",
    mutable: "ready",
    since: "0.1",
  },
  {
    name: "bitrate",
    type: "uint",
    minimum: 0,
    maximum: 4_294_967_295,
    default: 0,
    unit: "kbit/s",
    blurb: "Bit rate in kbit/s (0 = the host chooses)",
    details: `A value above ${LIMITS.MAX_BITRATE_KBPS} is taken as bit/s, with a warning, because some applications pass that.`,
    mutable: "playing",
    since: "0.1",
  },
  {
    name: "rate-control",
    type: "enum",
    of: "RateControl",
    default: "cbr",
    blurb: "How strictly the bit rate is kept",
    mutable: "playing",
    since: "0.1",
  },
  {
    name: "keyframe-interval",
    type: "uint",
    minimum: 0,
    maximum: 1_000_000,
    default: 60,
    unit: "frames",
    blurb: "Most frames from one key frame to the next (0 = the host chooses)",
    mutable: "playing",
    since: "0.1",
  },
  {
    name: "drop",
    type: "enum",
    of: "Drop",
    default: "auto",
    blurb: "What happens to a frame that the host has no room for",
    mutable: "ready",
    since: "0.1",
  },
  {
    name: "max-in-flight",
    type: "uint",
    minimum: 1,
    maximum: LIMITS.MAX_IN_FLIGHT_FRAMES,
    default: LIMITS.DEFAULT_IN_FLIGHT_FRAMES,
    unit: "frames",
    blurb: "Frames that may be with the host at one time",
    details: "More raises throughput and latency.",
    mutable: "ready",
    since: "0.1",
  },
  {
    name: "on-disconnect",
    type: "enum",
    of: "OnDisconnect",
    default: "resume",
    blurb: "What a lost host means to the pipeline",
    mutable: "ready",
    since: "0.1",
  },
  {
    name: "source",
    type: "enum",
    of: "Source",
    default: "none",
    blurb: "How the host reaches the pixels at present",
    mutable: "never",
    since: "0.1",
  },
  {
    name: "stats",
    type: "structure",
    blurb: "Counters since the element was opened, and times of the last frames in microseconds",
    mutable: "never",
    since: "0.1",
  },
];

/** Fields of the structure in `stats`. Times are of the last 1,024 frames, each with -p50 and -p95. */
export const STATS_FIELDS = [
  { name: "frames-in", type: "guint64", blurb: "frames that arrived from upstream" },
  { name: "frames-encoded", type: "guint64", blurb: "access units received from the host" },
  { name: "key-frames", type: "guint64", blurb: "key frames among them" },
  { name: "dropped-newer", type: "guint64", blurb: "replaced by a newer frame while waiting" },
  {
    name: "dropped-late",
    type: "guint64",
    blurb: "too late for downstream when they arrived (property qos)",
  },
  { name: "dropped-disconnected", type: "guint64", blurb: "lost because the host was away" },
  { name: "dropped-encoder", type: "guint64", blurb: "the host's encoder gave nothing for them" },
  { name: "dropped-flushed", type: "guint64", blurb: "discarded by a flush or at the end" },
  {
    name: "frames-copied",
    type: "guint64",
    blurb: "frames that were copied into a buffer of the virtio-gpu",
  },
  { name: "frames-inline", type: "guint64", blurb: "frames whose pixels went over the link" },
  { name: "bytes-sent", type: "guint64", blurb: "bytes to the host, protocol included" },
  { name: "bytes-received", type: "guint64", blurb: "bytes from the host, protocol included" },
  { name: "frame-bytes-sent", type: "guint64", blurb: "bytes of the Frame messages among those sent" },
  { name: "pixel-bytes-sent", type: "guint64", blurb: "bytes of pixels among those sent" },
  {
    name: "sessions",
    type: "guint64",
    blurb: "sessions opened with the host; more than 1 means that it was lost",
  },
  { name: "attaches", type: "guint64", blurb: "buffers told to the host" },
  { name: "attached", type: "guint", blurb: "buffers attached at present" },
  { name: "runs", type: "guint", blurb: "contiguous pieces of guest memory of the last attached buffer" },
  { name: "tier", type: "gchararray", blurb: "the same as the property `source`" },
  { name: "transport", type: "gchararray", blurb: "port or socket in use" },
  { name: "host", type: "gchararray", blurb: "software and version of the relay" },
  { name: "encoder", type: "gchararray", blurb: "encoder in use on the host" },
] as const;

/** Stages with -p50 and -p95 fields in `stats`, in microseconds. */
export const STATS_STAGES = [
  { name: "queue-us", blurb: "waited on the host" },
  { name: "convert-us", blurb: "colour conversion on the host" },
  { name: "encode-us", blurb: "encoder on the host" },
  { name: "round-trip-us", blurb: "from sending the frame to its last byte, by the guest's clock" },
] as const;

/** A profile by the name that it has in caps, and as Configure.profile. */
export interface OutputProfile {
  readonly caps: string;
  readonly wire: string;
}

/** What comes out, and what downstream can choose by its caps. First is what downstream gets that does not care. */
export interface OutputSpec {
  /** Name in the protocol's enum Codec. */
  readonly codec: string;
  readonly media: string;
  /** Parameter sets in band; parameter sets in codec_data, and NAL units behind their lengths. */
  readonly streamFormats: readonly [inBand: string, packetized: string];
  readonly profiles: readonly OutputProfile[];
}

export const OUTPUTS: readonly OutputSpec[] = [
  {
    codec: "H264",
    media: "video/x-h264",
    streamFormats: ["byte-stream", "avc"],
    profiles: [
      { caps: "constrained-baseline", wire: "H264_CONSTRAINED_BASELINE" },
      // The larger profile: every constrained-baseline stream is one of it.
      { caps: "baseline", wire: "H264_CONSTRAINED_BASELINE" },
      { caps: "main", wire: "H264_MAIN" },
      { caps: "high", wire: "H264_HIGH" },
    ],
  },
  {
    codec: "H265",
    media: "video/x-h265",
    streamFormats: ["byte-stream", "hvc1"],
    profiles: [{ caps: "main", wire: "H265_MAIN" }],
  },
];
