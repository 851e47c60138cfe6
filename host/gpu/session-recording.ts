/**
 * A recording of the messages of QEMU and the commands of the guest's driver with their answers, as text: one JSON
 * object a line, in order of time. test/unit/gpu/session-player.ts plays it again.
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
import { createWriteStream, type WriteStream } from "node:fs";
import type { Logger } from "pino";
import { memoryStatus } from "../native/os-addon.ts";
import type { GpuOptions } from "./device.ts";
import { type MessageHeader, Request } from "./vhost-user-protocol.ts";
import type { RingObserver } from "./vring.ts";

const SESSION_VERSION = 1;

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

export type SessionEntry =
  | SessionHead
  | MessageEntry
  | { readonly reply: Buffer }
  | CommandEntry
  | FaultEntry;

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

function formatEntry(entry: SessionEntry): string {
  const fields = Object.entries(entry);
  return JSON.stringify(
    Object.fromEntries(
      fields.map(([name, value]) => [name, Buffer.isBuffer(value) ? formatBytes(value) : value]),
    ),
  );
}

/** The entries of a recording, the head first. @throws SyntaxError */
export function parseSession(text: string): readonly SessionEntry[] {
  const revive = (name: string, value: unknown) =>
    BYTE_FIELDS.has(name) && typeof value === "string" ? parseBytes(value) : value;
  const lines = text.split("\n").filter((line) => line !== "");
  const entries = lines.map((line) => JSON.parse(line, revive) as SessionEntry);
  const head = entries[0];
  if (head === undefined || !("session" in head) || head.session !== SESSION_VERSION) {
    throw new SyntaxError(`not a recording of version ${SESSION_VERSION}`);
  }
  return entries;
}

/** In bytes; a desktop that flips writes a few KiB a second. */
const MAX_RECORD = 256 << 20;
const MAX_UNWRITTEN = 16 << 20;

/**
 * Writes a recording. It is for diagnosis and must never harm the device: it blocks nothing, keeps at most MAX_UNWRITTEN
 * in memory and MAX_RECORD on disk, and a failing disk ends the recording only. Pixels are not recorded: they never pass
 * through the device.
 */
export class SessionRecorder {
  readonly #stream: WriteStream;
  readonly #log: Logger;
  /** Numbers of the files behind memory tables, by identity. */
  readonly #files = new Map<string, number>();
  #bytes = 0;
  #ended = false;

  constructor(path: string, { heads, mode }: GpuOptions, log: Logger) {
    this.#log = log;
    // Commands reveal what a guest displays and when: not readable by other users.
    this.#stream = createWriteStream(path, { mode: 0o600 });
    this.#stream.on("error", (error) => this.#stop(error.message));
    this.#write({ session: SESSION_VERSION, heads, mode: [mode.width, mode.height] });
  }

  /** A vhost-user message, before it is handled. */
  message({ request, needsReply }: MessageHeader, payload: Buffer, descriptors: readonly number[]): void {
    if (this.#ended) return;
    const files = request === Request.SET_MEM_TABLE ? descriptors.map((fd) => this.#file(fd)) : [];
    this.#write({
      message: request,
      payload,
      ...(needsReply ? { needsReply } : {}),
      ...(descriptors.length > 0 ? { descriptors: descriptors.length } : {}),
      ...(files.length > 0 ? { files } : {}),
    });
  }

  reply(payload: Buffer): void {
    this.#write({ reply: payload });
  }

  /** Records what a ring takes. */
  ring(ring: number): RingObserver {
    return {
      command: (command, room, answer) =>
        this.#write({ ring, command, room, answer: answer.subarray(0, room) }),
      fault: (reason) => this.#write({ ring, fault: reason }),
    };
  }

  close(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#stream.end();
  }

  #file(fd: number): readonly [file: number, size: number] {
    const { identity, size } = memoryStatus(fd);
    const known = this.#files.get(identity) ?? this.#files.size;
    this.#files.set(identity, known);
    return [known, size];
  }

  #write(entry: SessionEntry): void {
    if (this.#ended) return;
    const line = `${formatEntry(entry)}\n`;
    this.#bytes += line.length;
    if (this.#bytes > MAX_RECORD) this.#stop(`it has reached the limit of ${MAX_RECORD} bytes`);
    else if (this.#stream.writableLength > MAX_UNWRITTEN) this.#stop("the disk is too slow");
    else this.#stream.write(line);
  }

  #stop(reason: string): void {
    if (this.#ended) return;
    this.#log.warn({ reason }, "the recording has ended early");
    this.close();
  }
}
