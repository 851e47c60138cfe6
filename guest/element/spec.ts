/**
 * The interface of the element `vsockenc`: properties, enums, caps and metadata, each with its documentation.
 *
 * This is the single source: `generate.ts` makes the C code that registers them, the TypeScript types and the tables
 * of docs/element.md from it.
 */
import { LIMITS } from "../../proto/limits.ts";

/** An enum; a value's `nick` is its text in pipelines, lower case with hyphens. */
export interface EnumSpec {
  readonly blurb: string;
  readonly values: readonly { readonly nick: string; readonly blurb: string }[];
}

interface PropertyBase {
  readonly name: string;
  /** Shown by gst-inspect; includes the unit, if any. */
  readonly blurb: string;
  /** Further documentation, in whole sentences. */
  readonly details?: string;
  /** ready: settable below PAUSED. playing: settable at any time. never: read-only. */
  readonly mutable: "ready" | "playing" | "never";
}

export interface UintProperty extends PropertyBase {
  readonly type: "uint";
  readonly minimum: number;
  readonly maximum: number;
  readonly default: number;
  readonly unit?: string;
}

interface EnumProperty extends PropertyBase {
  readonly type: "enum";
  readonly of: string;
  readonly default: string;
}

export type PropertySpec =
  | UintProperty
  | EnumProperty
  | (PropertyBase & { readonly type: "boolean"; readonly default: boolean })
  /** @property unset meaning of an unset (NULL) value */
  | (PropertyBase & { readonly type: "string"; readonly unset: string })
  | (PropertyBase & { readonly type: "structure" });

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
  Content: {
    blurb: "Where the pixels of DmaBufs are",
    values: [
      {
        nick: "auto",
        blurb: "as the host finds: in the pages of a dumb buffer, in the texture of any other resource",
      },
      { nick: "pages", blurb: "in the guest's pages: the CPU drew them" },
      { nick: "rendered", blurb: "in the host's texture: the GPU drew them" },
    ],
  },
  Drop: {
    blurb: "What to do with a frame while the host is busy",
    values: [
      { nick: "auto", blurb: "newest in a live pipeline, otherwise never" },
      { nick: "never", blurb: "block upstream; no frame is lost" },
      { nick: "newest", blurb: "keep the newest frame; drop older ones that are still waiting" },
    ],
  },
  OnDisconnect: {
    blurb: "What to do when the connection to the host is lost",
    values: [
      { nick: "resume", blurb: "post a warning, reconnect and resume with a key frame" },
      { nick: "error", blurb: "post an error" },
    ],
  },
  RateControl: {
    blurb: "Rate control mode",
    values: [
      { nick: "cbr", blurb: "constant: at most the bit rate over one second, for streaming" },
      { nick: "vbr", blurb: "variable: the bit rate on average, peaks up to twice as high, for recording" },
    ],
  },
  Source: {
    blurb: "How the host reads the pixels",
    values: [
      { nick: "none", blurb: "no frame has been sent yet" },
      { nick: "resource", blurb: "read in place from the virtio-gpu resource" },
      {
        nick: "resource-copy",
        blurb: "read in place after the element copied the frame into a virtio-gpu resource",
      },
      { nick: "resource-gather", blurb: "gathered by the host from the resource's scattered pages" },
      { nick: "inline", blurb: "sent over the link with each frame" },
      { nick: "resource-read", blurb: "copied by the host from what its GPU rendered" },
    ],
  },
} as const satisfies Record<string, EnumSpec>;

/** The nicks of a property's enum. @throws Error if it has no such enum, or none with the property's default */
export function nicksOf(property: EnumProperty, enums: Readonly<Record<string, EnumSpec>> = ENUMS): string[] {
  const nicks = enums[property.of]?.values.map(({ nick }) => nick) ?? [];
  if (nicks.includes(property.default)) return nicks;
  throw new Error(`spec.ts: property ${property.name}: no enum ${property.of} with ${property.default}`);
}

export const PROPERTIES: readonly PropertySpec[] = [
  {
    name: "device",
    type: "string",
    unset: "the first free port of org.vsockenc.0 to org.vsockenc.3",
    blurb:
      "virtserialport to the host: a path, or a name in /dev/virtio-ports (unset = first free org.vsockenc.N)",
    mutable: "ready",
  },
  {
    name: "socket-path",
    type: "string",
    unset: "another transport is used",
    blurb: "UNIX socket of the relay",
    details: "Takes precedence over all other transports.",
    mutable: "ready",
  },
  {
    name: "tcp-host",
    type: "string",
    unset: "TCP is not used",
    blurb: "Host name or address of the relay's TCP listener",
    details: "Takes precedence over vsock and `device`.",
    mutable: "ready",
  },
  {
    name: "tcp-port",
    type: "uint",
    minimum: 1,
    maximum: 65_535,
    default: 15_937,
    blurb: "Port of the relay's TCP listener, used with tcp-host",
    mutable: "ready",
  },
  {
    name: "cid",
    type: "uint",
    minimum: 0,
    maximum: 4_294_967_295,
    default: 2,
    blurb: "vsock context ID of the relay (2 = the host)",
    details: "Setting `cid` or `port` selects vsock, which takes precedence over `device`.",
    mutable: "ready",
  },
  {
    name: "port",
    type: "uint",
    minimum: 0,
    maximum: 4_294_967_295,
    default: 5000,
    blurb: "vsock port of the relay",
    details: "Setting `cid` or `port` selects vsock, which takes precedence over `device`.",
    mutable: "ready",
  },
  {
    name: "connect-timeout",
    type: "uint",
    minimum: 100,
    maximum: 60_000,
    default: 5_000,
    unit: "ms",
    blurb: "Maximum time to wait for the host when the element is opened, in milliseconds",
    mutable: "ready",
  },
  {
    name: "bitrate",
    type: "uint",
    minimum: 0,
    maximum: 4_294_967_295,
    default: 0,
    unit: "kbit/s",
    blurb: "Bit rate in kbit/s (0 = the host chooses)",
    details: `Values above ${LIMITS.MAX_BITRATE_KBPS} are interpreted as bit/s, with a warning, because some applications pass bit/s.`,
    mutable: "playing",
  },
  {
    name: "rate-control",
    type: "enum",
    of: "RateControl",
    default: "cbr",
    blurb: "Rate control mode",
    mutable: "playing",
  },
  {
    name: "keyframe-interval",
    type: "uint",
    minimum: 0,
    maximum: 1_000_000,
    default: 60,
    unit: "frames",
    blurb: "Maximum distance between key frames, in frames (0 = the host chooses)",
    mutable: "playing",
  },
  {
    name: "content",
    type: "enum",
    of: "Content",
    default: "auto",
    blurb: "Where the pixels of DmaBufs are, on a virtio-gpu that renders",
    details:
      "Only the program that draws knows. `auto` is wrong for a dumb buffer that the GPU drew into, and for another resource that the CPU drew into: the picture is then black or old. It does not apply to the element's own buffers.",
    mutable: "ready",
  },
  {
    name: "drop",
    type: "enum",
    of: "Drop",
    default: "auto",
    blurb: "What to do with a frame while the host is busy",
    mutable: "ready",
  },
  {
    name: "max-in-flight",
    type: "uint",
    minimum: 1,
    maximum: LIMITS.MAX_IN_FLIGHT_FRAMES,
    default: LIMITS.DEFAULT_IN_FLIGHT_FRAMES,
    unit: "frames",
    blurb: "Maximum number of frames that the host holds at one time",
    details: "Higher values raise throughput and latency.",
    mutable: "ready",
  },
  {
    name: "on-disconnect",
    type: "enum",
    of: "OnDisconnect",
    default: "resume",
    blurb: "What to do when the connection to the host is lost",
    mutable: "ready",
  },
  {
    name: "source",
    type: "enum",
    of: "Source",
    default: "none",
    blurb: "How the host currently reads the pixels",
    mutable: "never",
  },
  {
    name: "stats",
    type: "structure",
    blurb: "Counters since the element was opened, and times of recent frames in microseconds",
    mutable: "never",
  },
];

/** Fields of the structure in `stats`. */
export const STATS_FIELDS = [
  { name: "frames-in", type: "guint64", blurb: "frames that arrived from upstream" },
  { name: "frames-encoded", type: "guint64", blurb: "access units received from the host" },
  { name: "key-frames", type: "guint64", blurb: "key frames among them" },
  { name: "dropped-newer", type: "guint64", blurb: "dropped in favour of a newer frame while waiting" },
  { name: "dropped-late", type: "guint64", blurb: "too late for downstream on arrival (property qos)" },
  { name: "dropped-disconnected", type: "guint64", blurb: "lost because the host was disconnected" },
  { name: "dropped-encoder", type: "guint64", blurb: "dropped by the host's encoder" },
  { name: "dropped-flushed", type: "guint64", blurb: "discarded by a flush or when the element stopped" },
  { name: "frames-copied", type: "guint64", blurb: "frames copied into a virtio-gpu buffer" },
  { name: "frames-inline", type: "guint64", blurb: "frames whose pixels were sent over the link" },
  { name: "bytes-sent", type: "guint64", blurb: "bytes to the host, protocol included" },
  { name: "bytes-received", type: "guint64", blurb: "bytes from the host, protocol included" },
  { name: "frame-bytes-sent", type: "guint64", blurb: "bytes of Frame messages sent" },
  { name: "pixel-bytes-sent", type: "guint64", blurb: "bytes of pixels sent" },
  { name: "sessions", type: "guint64", blurb: "sessions opened; more than 1: the connection was lost" },
  { name: "attaches", type: "guint64", blurb: "buffers attached so far" },
  { name: "attached", type: "guint", blurb: "buffers attached now" },
  { name: "runs", type: "guint", blurb: "contiguous ranges of guest memory in the last attached buffer" },
  { name: "tier", type: "gchararray", blurb: "the same as the property `source`" },
  { name: "transport", type: "gchararray", blurb: "port or socket in use" },
  { name: "host", type: "gchararray", blurb: "software and version of the relay" },
  { name: "encoder", type: "gchararray", blurb: "encoder in use on the host" },
] as const;

/** Times in `stats`, in microseconds over the last 1,024 frames; each has a field with -p50 and one with -p95. */
export const STATS_STAGES = [
  { name: "queue-us", blurb: "waiting time on the host" },
  { name: "convert-us", blurb: "colour conversion on the host" },
  { name: "encode-us", blurb: "encoding on the host" },
  {
    name: "round-trip-us",
    blurb: "from sending a frame to its access unit's last byte, on the guest's clock",
  },
] as const;

/** One codec's output caps. The first of each list is the default when downstream accepts several. */
export interface OutputSpec {
  /** Name in the protocol's enum Codec. */
  readonly codec: string;
  readonly media: string;
  /** Parameter sets in band; parameter sets in codec_data and length-prefixed NAL units. */
  readonly streamFormats: readonly [inBand: string, packetized: string];
  /** Each profile's name in caps, and as Configure.profile. */
  readonly profiles: readonly { readonly caps: string; readonly wire: string }[];
  /** Every level of Rec. ITU-T H.264, table A-1, or H.265, table A.8, as caps have it. */
  readonly levels: readonly string[];
}

export const OUTPUTS: readonly OutputSpec[] = [
  {
    codec: "H264",
    media: "video/x-h264",
    streamFormats: ["byte-stream", "avc"],
    profiles: [
      { caps: "constrained-baseline", wire: "H264_CONSTRAINED_BASELINE" },
      // Every constrained-baseline stream is also a baseline stream.
      { caps: "baseline", wire: "H264_CONSTRAINED_BASELINE" },
      { caps: "main", wire: "H264_MAIN" },
      { caps: "high", wire: "H264_HIGH" },
    ],
    levels: "1 1b 1.1 1.2 1.3 2 2.1 2.2 3 3.1 3.2 4 4.1 4.2 5 5.1 5.2 6 6.1 6.2".split(" "),
  },
  {
    codec: "H265",
    media: "video/x-h265",
    streamFormats: ["byte-stream", "hvc1"],
    profiles: [{ caps: "main", wire: "H265_MAIN" }],
    levels: "1 2 2.1 3 3.1 4 4.1 5 5.1 5.2 6 6.1 6.2".split(" "),
  },
];
