/**
 * A recording of a vhost-user connection as text: one JSON object a line, in order of time.
 *
 *     {"session":1,"heads":1,"mode":[1280,800]}                  first line: options of the device
 *     {"message":5,"payload":"…","needsReply":true,"descriptors":2,"files":[[0,1073741824],[0,1073741824]]}
 *     {"reply":"[8]"}                                            to the last message
 *     {"ring":0,"command":"0001[22]","room":408,"answer":"0111[22]…"}
 *     {"ring":0,"fault":"a chain loops or is too long"}          a chain given back without an answer
 *
 * In a recording written by hand, a fault contains its cause: the descriptors (address, length, flags, next) and the
 * bytes at some addresses, or an available index that breaks the ring.
 *
 *     {"ring":0,"fault":"…","chain":[[4096,24,1,0]],"memory":[[4096,"0001[22]"]]}
 *     {"ring":0,"fault":"…","available":1000}
 *
 * Bytes are hexadecimal; `[N]` stands for N zero bytes, because most bytes of virtio-gpu are zero. `files` is the file
 * (number, size) behind each region of a memory table. Commands are in order with the messages, so GET_VRING_BASE's
 * reply is the number of commands before it.
 */

export const SESSION_VERSION = 1;

export interface SessionHead {
  readonly session: number;
  readonly heads: number;
  readonly mode: readonly [width: number, height: number];
}

export interface MessageEntry {
  /** Request of vhost-user. */
  readonly message: number;
  readonly payload: Buffer;
  readonly needsReply?: boolean;
  /** How many came with the message. */
  readonly descriptors?: number;
  readonly files?: readonly (readonly [file: number, size: number])[];
}

export interface ReplyEntry {
  readonly reply: Buffer;
}

export interface CommandEntry {
  readonly ring: number;
  readonly command: Buffer;
  readonly room: number;
  readonly answer: Buffer;
}

export type DescriptorFields = readonly [address: number, length: number, flags: number, next: number];

export interface FaultEntry {
  readonly ring: number;
  readonly fault: string;
  readonly chain?: readonly DescriptorFields[];
  readonly memory?: readonly (readonly [address: number, bytes: string])[];
  readonly available?: number;
}

export type SessionEntry = SessionHead | MessageEntry | ReplyEntry | CommandEntry | FaultEntry;

/** Fields that hold bytes. */
const BYTE_FIELDS: ReadonlySet<string> = new Set(["payload", "reply", "command", "answer"]);
/** Shorter runs of zeros are no shorter as `[N]`. */
const MIN_RUN = 2;

export function formatBytes(bytes: Buffer): string {
  let text = "";
  for (let at = 0; at < bytes.length; ) {
    let end = at;
    while (end < bytes.length && bytes[end] === 0) end++;
    if (end - at >= MIN_RUN) {
      text += `[${end - at}]`;
      at = end;
    } else {
      text += bytes.toString("hex", at, at + 1);
      at++;
    }
  }
  return text;
}

/** @throws SyntaxError */
export function parseBytes(text: string): Buffer {
  const parts = text.match(/\[\d+\]|[0-9a-f]{2}/g) ?? [];
  if (parts.join("").length !== text.length) throw new SyntaxError(`not bytes: ${text.slice(0, 80)}`);
  return Buffer.concat(
    parts.map((part) =>
      part.startsWith("[") ? Buffer.alloc(Number(part.slice(1, -1))) : Buffer.from(part, "hex"),
    ),
  );
}

export function formatEntry(entry: SessionEntry): string {
  return JSON.stringify(
    Object.fromEntries(
      Object.entries(entry).map(([name, value]) => [
        name,
        Buffer.isBuffer(value) ? formatBytes(value) : value,
      ]),
    ),
  );
}

/** The entries of a recording, the head first. @throws SyntaxError */
export function parseSession(text: string): readonly SessionEntry[] {
  const entries = text
    .split("\n")
    .filter((line) => line !== "")
    .map(
      (line) =>
        JSON.parse(line, (name, value: unknown) =>
          BYTE_FIELDS.has(name) && typeof value === "string" ? parseBytes(value) : value,
        ) as SessionEntry,
    );
  const head = entries[0];
  if (head === undefined || !("session" in head) || head.session !== SESSION_VERSION) {
    throw new SyntaxError(`not a recording of version ${SESSION_VERSION}`);
  }
  return entries;
}
