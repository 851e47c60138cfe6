/**
 * The fixed limits of the viewer server; the table in proto/VIEWER.md is generated from them. Configurable values are in
 * viewer/server/options.ts.
 */
import { type Limit, limitValues } from "./limits.ts";

const limit = (value: number, unit: string, why: string): Limit => ({ value, unit, why });

const TABLE = {
  VERSION: limit(1, "version", "of the protocol, in ViewerHello and ServerHello"),

  REQUEST_MS: limit(5000, "ms", "for the head of an HTTP request, and for the TLS handshake"),
  HELLO_MS: limit(5000, "ms", "from the opened WebSocket to ViewerHello"),
  PING_INTERVAL_MS: limit(10_000, "ms", "between WebSocket pings; an unanswered one ends the connection"),
  CLOSE_MS: limit(2000, "ms", "for the answer to Close, before the connection is cut"),
  SPARE_CONNECTIONS: limit(
    64,
    "connections",
    "besides the viewers', for the page's files and rejected requests; a new one replaces the longest silent one",
  ),
  REFUSALS_LOGGED_PER_SECOND: limit(2, "1/s", "log lines about rejected viewers"),
  PAGE_FILES: limit(256, "files", "of the page"),
  PAGE_BYTES: limit(16_777_216, "bytes", "all files of the page, which are kept in memory"),

  MESSAGE_BYTES: limit(4096, "bytes", "per message of a viewer"),
  RECEIVE_BYTES: limit(65_536, "bytes", "of a message, beyond which it is not read to its end"),
  MESSAGES_PER_SECOND: limit(1000, "1/s", "messages per viewer, with a burst of as many"),
  WATCHES_PER_SECOND: limit(
    5,
    "1/s",
    "Watch messages per viewer; of more, only the last is followed, after WATCH_DELAY_MS",
  ),
  WATCH_DELAY_MS: limit(250, "ms", "before a Watch beyond WATCHES_PER_SECOND is followed"),
  POINTER_MOVES_PER_SECOND: limit(250, "1/s", "pointer moves per source; more are skipped"),
  MAX_WHEEL: limit(12_000, "1/120 notch", "per event, in either direction"),
  MAX_BUTTONS: limit(31, "bits", "MouseEvent.buttons has five"),
  MAX_KEY_CODE: limit(0x2ff, "code", "KEY_MAX of linux/input-event-codes.h"),
  MAX_KEYS_DOWN: limit(32, "keys", "held by one viewer at the same time"),
  MAX_REPORT_MS: limit(60_000, "ms", "a Report's period"),
  CODECS: limit(16, "codecs", "in ViewerHello"),

  CURSOR_MS: limit(
    15,
    "ms",
    "between two Cursor messages to a viewer, which carry the newest position and image",
  ),

  SOURCES: limit(256, "sources", "of a server"),
  SOURCE_ID_BYTES: limit(127, "bytes", "a source's id"),
  TEXT_BYTES: limit(255, "bytes", "a title or a sentence, in UTF-8"),
  STOP_GRACE_MS: limit(3000, "ms", "from the last viewer's departure to the source's stop"),
  IDLE_MS: limit(5000, "ms", "without an access unit, after which a source counts as idle"),
  TICK_MS: limit(1000, "ms", "between two Statistics, two bit-rate decisions, two thumbnails of a source"),
  KEY_FRAME_MS: limit(800, "ms", "between two key-frame requests to a source"),

  GROUP_BYTES: limit(
    1_048_576,
    "bytes",
    "of the current group of pictures, kept for new viewers: what an ordinary connection takes within QUEUE_MS",
  ),
  GROUP_UNITS: limit(
    300,
    "units",
    "of that group; a longer one is not kept, and new viewers wait for a key frame",
  ),
  QUEUE_BYTES: limit(8_388_608, "bytes", "that wait for one viewer, except a single larger unit"),
  QUEUE_UNITS: limit(600, "units", "that wait for one viewer"),
  QUEUE_MS: limit(1000, "ms", "that a unit may wait, before all units up to the next key frame are skipped"),
  SEND_AHEAD_BYTES: limit(65_536, "bytes", "passed to a socket in advance; the rest waits in the queue"),
  CONTROL_BYTES: limit(1_048_576, "bytes", "of messages other than pictures that a viewer has not taken"),
  THUMBNAIL_BYTES: limit(1_048_576, "bytes", "of a key unit, beyond which it is not sent as a thumbnail"),
  SAMPLE_INTERVAL_MS: limit(10_000, "ms", "between two starts of a source for its thumbnail only"),
  SAMPLE_MS: limit(5000, "ms", "that such a start waits for a key unit"),
} as const satisfies Record<string, Limit>;

export type ViewerLimitName = keyof typeof TABLE;

/** The limits with units and reasons, for the documentation. */
export const VIEWER_LIMIT_DOCUMENTATION: Readonly<Record<ViewerLimitName, Limit>> = TABLE;

/** The values, e.g. `VIEWER_LIMITS.HELLO_MS`. */
export const VIEWER_LIMITS = limitValues(TABLE);
