/**
 * Every number of the server for browsers that nobody configures. The table of proto/VIEWER.md is generated from it;
 * what can be configured is in server/options.ts.
 */
import type { Limit } from "./limits.ts";

const limit = (value: number, unit: string, why: string): Limit => ({ value, unit, why });

const TABLE = {
  VERSION: limit(1, "version", "of the protocol to the browser, in ViewerHello and ServerHello"),

  REQUEST_MS: limit(5000, "ms", "for the head of an HTTP request, and for the TLS handshake"),
  HELLO_MS: limit(5000, "ms", "from the WebSocket's opening to ViewerHello"),
  PING_INTERVAL_MS: limit(
    10_000,
    "ms",
    "between WebSocket pings; a viewer that has not answered one is gone",
  ),
  CLOSE_MS: limit(2000, "ms", "for the answer to a Close, after which the connection is cut"),
  SPARE_CONNECTIONS: limit(64, "connections", "besides the viewers', for the page's files and refusals"),
  REFUSALS_LOGGED_PER_SECOND: limit(2, "1/s", "log lines about viewers that were refused"),
  PAGE_FILES: limit(256, "files", "of the page"),
  PAGE_BYTES: limit(16_777_216, "bytes", "of the page's files together, which are kept in memory"),

  MESSAGE_BYTES: limit(4096, "bytes", "one message of a viewer"),
  RECEIVE_BYTES: limit(65_536, "bytes", "a message beyond it is not read to its end"),
  MESSAGES_PER_SECOND: limit(1000, "1/s", "messages of a viewer, with as many in one burst"),
  WATCHES_PER_SECOND: limit(
    5,
    "1/s",
    "Watch of a viewer; the last of more than that is put off, the others are skipped",
  ),
  WATCH_DELAY_MS: limit(250, "ms", "that it is put off"),
  POINTER_MOVES_PER_SECOND: limit(250, "1/s", "pointer positions that reach a source; more are skipped"),
  MAX_WHEEL: limit(12_000, "1/120 notch", "scrolled in one event, either way"),
  MAX_BUTTONS: limit(31, "bits", "MouseEvent.buttons has five"),
  MAX_KEY_CODE: limit(0x2ff, "code", "KEY_MAX of linux/input-event-codes.h"),
  MAX_KEYS_DOWN: limit(32, "keys", "held down by one viewer at one time"),
  MAX_REPORT_MS: limit(60_000, "ms", "a Report's period"),
  CODECS: limit(16, "codecs", "in ViewerHello"),

  CURSOR_MS: limit(15, "ms", "between two Cursor to a viewer; the newest place and image are what is sent"),

  SOURCES: limit(256, "sources", "of a server"),
  SOURCE_ID_BYTES: limit(127, "bytes", "a source's id"),
  TEXT_BYTES: limit(255, "bytes", "a title or a sentence, UTF-8"),
  STOP_GRACE_MS: limit(3000, "ms", "from the last viewer's leaving to the source's stop"),
  IDLE_MS: limit(5000, "ms", "without an access unit, after which a source counts as idle"),
  TICK_MS: limit(
    1000,
    "ms",
    "between two Statistics, two decisions about the bit rate, two thumbnails of a source",
  ),
  KEY_FRAME_MS: limit(800, "ms", "between two key-frame requests to a source, whoever asks"),

  GROUP_BYTES: limit(
    1_048_576,
    "bytes",
    "of the current group of pictures, kept for viewers that come: what an ordinary line takes within QUEUE_MS",
  ),
  GROUP_UNITS: limit(300, "units", "of it; a longer one is not kept, and who comes waits for a key frame"),
  QUEUE_BYTES: limit(8_388_608, "bytes", "that wait for one viewer, units larger than that apart"),
  QUEUE_UNITS: limit(600, "units", "that wait for one viewer"),
  QUEUE_MS: limit(1000, "ms", "that a unit waits; then all up to the next key frame are skipped"),
  SEND_AHEAD_BYTES: limit(65_536, "bytes", "given to a socket that has not taken them; the rest waits here"),
  CONTROL_BYTES: limit(1_048_576, "bytes", "of messages without a picture that a viewer has not taken"),
  THUMBNAIL_BYTES: limit(1_048_576, "bytes", "a key access unit that still makes a thumbnail"),
  SAMPLE_INTERVAL_MS: limit(10_000, "ms", "between two starts of a source for nothing but its thumbnail"),
  SAMPLE_MS: limit(5000, "ms", "that such a start waits for a key frame"),
} as const satisfies Record<string, Limit>;

export type ViewerLimitName = keyof typeof TABLE;

/** The numbers with units and reasons, for the documentation. */
export const VIEWER_LIMIT_DOCUMENTATION: Readonly<Record<ViewerLimitName, Limit>> = TABLE;

/** The numbers themselves, e.g. `VIEWER_LIMITS.HELLO_MS`. */
export const VIEWER_LIMITS: Readonly<Record<ViewerLimitName, number>> = Object.freeze(
  Object.fromEntries(Object.entries(TABLE).map(([name, { value }]) => [name, value])) as Record<
    ViewerLimitName,
    number
  >,
);
