/**
 * Every number of the protocol that is not a message: the frame header, sizes, counts and waits.
 *
 * This is the single truth. `generate.ts` turns it into the C header, nanopb's static bounds and the tables
 * of PROTOCOL.md; TypeScript imports it directly.
 */

/** A number of the protocol, as it is documented. */
export interface Limit {
  readonly value: number;
  readonly unit: string;
  readonly why: string;
}

const limit = (value: number, unit: string, why: string): Limit => ({ value, unit, why });

const LIMIT_TABLE = {
  PROTOCOL_VERSION: limit(3, "version", "newest version; it is also in every header"),
  OLDER_OPENING_BYTES: limit(
    128,
    "bytes",
    "body of a Greeting or Hello of an older version, whose header has no check",
  ),
  MAGIC: limit(0x434e4556, "u32", 'the bytes "VENC" at the start of every header'),
  HEADER_BYTES: limit(24, "bytes", "size of the fixed header"),
  MAX_MESSAGE_BYTES: limit(32768, "bytes", "header and body: one write of a virtserialport moves no more"),
  FLUSH_NULS: limit(
    32768,
    "bytes",
    "NUL bytes that complete a dead predecessor's half message of any length",
  ),
  DATA_PREFIX_BYTES: limit(8, "bytes", "frame number and offset ahead of a Data chunk's bytes"),
  GUEST_WINDOW_BYTES: limit(
    131072,
    "bytes",
    "bulk bytes in flight from the guest: below a UNIX socket's buffer, so a dead relay never throttles the port",
  ),
  HOST_WINDOW_BYTES: limit(
    262144,
    "bytes",
    "bulk bytes in flight from the host, about ten frames at 10 Mbit/s",
  ),
  CONTROL_RESERVE_BYTES: limit(
    16384,
    "bytes",
    "control messages that may wait behind the bulk ones; beyond them the peer counts as dead",
  ),
  HELLO_INTERVAL_MS: limit(250, "ms", "repetition of Hello until Welcome"),
  GREETING_INTERVAL_MS: limit(1000, "ms", "repetition of Greeting while there is no session"),
  PING_INTERVAL_MS: limit(1000, "ms", "without another message for that long, a Ping is sent"),
  SILENCE_MS: limit(3000, "ms", "silence that ends a session"),
  SESSIONS_PER_SECOND: limit(8, "sessions", "most that a relay opens on a link in a second"),
  FRAME_DONE_TIMEOUT_MS: limit(1000, "ms", "wait for FrameDone after which the guest starts a new epoch"),
  MAX_ATTACHED_BUFFERS: limit(64, "buffers", "attached at one time"),
  MAX_INLINE_BYTES: limit(
    134217728,
    "bytes",
    "all inline buffers of a session together: three pictures of 4K",
  ),
  MAX_IN_FLIGHT_FRAMES: limit(8, "frames", "most the relay accepts before it has answered"),
  DEFAULT_IN_FLIGHT_FRAMES: limit(2, "frames", "what the element sends ahead by default"),
  MAX_PLANES: limit(4, "planes", "of one buffer"),
  MAX_DIMENSION: limit(16384, "pixels", "width or height of a picture"),
  MAX_PICTURE_PIXELS: limit(35651584, "pixels", "of a picture: the most of any level of H.264 and H.265"),
  MIN_DIMENSION: limit(16, "pixels", "width or height of a picture"),
  MAX_ACCESS_UNIT_BYTES: limit(16777216, "bytes", "one Packet"),
  MAX_ENCODER_OFFERS: limit(16, "offers", "in Welcome"),
  MAX_PROFILES: limit(8, "profiles", "of an encoder, in Welcome"),
  MAX_LEVELS: limit(32, "levels", "in Configure; H.264 has 20, H.265 has 13"),
  MAX_MODIFIERS: limit(16, "modifiers", "in Welcome"),
  MAX_NAME_BYTES: limit(63, "bytes", "a name, UTF-8, without the terminator"),
  MAX_TEXT_BYTES: limit(255, "bytes", "a text for users, UTF-8, without the terminator"),
  MAX_BITRATE_KBPS: limit(1000000, "kbit/s", "bit rate"),
  EXPORT_VERSION: limit(2, "version", "of the export protocol"),
  MAX_EXPORT_MESSAGE_BYTES: limit(1048576, "bytes", "an ExportMessage with its extents"),
  MAX_EXTENTS: limit(16384, "extents", "of one resource: 64 MiB with not two pages adjacent"),
  MAX_ACQUIRED_RESOURCES: limit(1024, "resources", "acquired at one time on an export connection"),
  MAX_MEMORIES: limit(64, "memories", "sent on one export connection, those of slots aside"),
  MAX_SLOTS: limit(24, "slots", "of one export connection: three for each of eight streams"),
  MAX_SLOT_BYTES: limit(402653184, "bytes", "of all slots of one export connection: twelve of 4K"),
  MAX_EXPORT_REQUEST_BYTES: limit(512, "bytes", "an ExportMessage from the relay"),
  MAX_HEADS: limit(16, "heads", "of one VM (VIRTIO_GPU_MAX_SCANOUTS of virtio 1.2, 5.7.6.7)"),
  CURSOR_SIDE: limit(64, "pixels", "width and height of a pointer's image (virtio 1.2, 5.7.6.10)"),
  REVOKE_HOLD_MS: limit(100, "ms", "how long the guest's UNREF or DETACH waits for the relay's Release"),
} as const satisfies Record<string, Limit>;

/** Name of a protocol number. */
export type LimitName = keyof typeof LIMIT_TABLE;

/** The numbers with units and reasons, for generators and documentation. */
export const LIMIT_DOCUMENTATION: Readonly<Record<LimitName, Limit>> = LIMIT_TABLE;

/** The numbers themselves, e.g. `LIMITS.MAX_MESSAGE_BYTES`. */
export const LIMITS = limitValues(LIMIT_TABLE);

/** The numbers of a table of limits, by name. */
export function limitValues<Name extends string>(
  table: Readonly<Record<Name, Limit>>,
): Readonly<Record<Name, number>> {
  const entries = Object.entries<Limit>(table).map(([name, { value }]) => [name, value]);
  return Object.freeze(Object.fromEntries(entries) as Record<Name, number>);
}

/** A field of the fixed header. All are unsigned and little-endian. */
export interface HeaderField {
  readonly name: string;
  readonly offset: number;
  readonly bytes: 1 | 2 | 4;
  readonly meaning: string;
}

/** Layout of the fixed header, without gaps. */
export const HEADER_FIELDS = [
  { name: "magic", offset: 0, bytes: 4, meaning: "MAGIC" },
  { name: "version", offset: 4, bytes: 1, meaning: "protocol version of the sender" },
  { name: "type", offset: 5, bytes: 1, meaning: "MessageType of wire.proto" },
  { name: "flags", offset: 6, bytes: 1, meaning: "0; ignored by the receiver" },
  { name: "stream", offset: 7, bytes: 1, meaning: "0" },
  { name: "epoch", offset: 8, bytes: 4, meaning: "session epoch, never 0; 0 in Greeting alone" },
  {
    name: "sequence",
    offset: 12,
    bytes: 4,
    meaning:
      "0 in Greeting, Hello and Welcome; else counts from 1 in each direction of an epoch, modulo 2^32",
  },
  { name: "length", offset: 16, bytes: 2, meaning: "bytes of body that follow the header" },
  {
    name: "check",
    offset: 18,
    bytes: 2,
    meaning: "the low 16 bits of the CRC-32 (IEEE 802.3) of the header's bytes before this field",
  },
  { name: "crc", offset: 20, bytes: 4, meaning: "CRC-32 of header and body, this field as 0" },
] as const satisfies readonly HeaderField[];

/** Byte offset of each header field by its name. */
export const HEADER_OFFSET = Object.freeze(
  Object.fromEntries(HEADER_FIELDS.map(({ name, offset }) => [name, offset])),
) as Readonly<Record<(typeof HEADER_FIELDS)[number]["name"], number>>;

/** Static bounds of strings and repeated fields in wire messages, by `message.field`, for nanopb. */
export const FIELD_BOUNDS: Readonly<Record<string, { max_length: LimitName } | { max_count: LimitName }>> = {
  "Hello.software": { max_length: "MAX_NAME_BYTES" },
  "EncoderOffer.name": { max_length: "MAX_NAME_BYTES" },
  "Welcome.software": { max_length: "MAX_NAME_BYTES" },
  "Welcome.encoders": { max_count: "MAX_ENCODER_OFFERS" },
  "EncoderOffer.profiles": { max_count: "MAX_PROFILES" },
  "Welcome.modifiers": { max_count: "MAX_MODIFIERS" },
  "Configure.levels": { max_count: "MAX_LEVELS" },
  "Bye.text": { max_length: "MAX_TEXT_BYTES" },
  "Error.text": { max_length: "MAX_TEXT_BYTES" },
  "Configured.encoder": { max_length: "MAX_NAME_BYTES" },
  "Attach.planes": { max_count: "MAX_PLANES" },
  "ExportHello.software": { max_length: "MAX_NAME_BYTES" },
  "Refused.text": { max_length: "MAX_TEXT_BYTES" },
  "ReadDone.text": { max_length: "MAX_TEXT_BYTES" },
};
