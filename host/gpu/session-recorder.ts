/**
 * Records the messages of QEMU and the commands of the guest's driver with their answers, in the format of
 * session-format.ts; test/unit/gpu/session-player.ts plays them again.
 *
 * A recording is for diagnosis and must never harm the device. It blocks nothing, keeps at most MAX_UNWRITTEN in memory
 * and MAX_RECORD on disk, and a failing disk ends the recording only. Pixels are not recorded: they never pass through
 * the device.
 */
import { createWriteStream, type WriteStream } from "node:fs";
import type { Logger } from "pino";
import { memoryStatus } from "../native/descriptor.ts";
import type { GpuOptions } from "./device.ts";
import { formatEntry, SESSION_VERSION, type SessionEntry } from "./session-format.ts";
import { type MessageHeader, Request } from "./vhost-user-protocol.ts";
import type { RingObserver } from "./vring.ts";

/** In bytes; a desktop that flips writes a few KiB a second. */
const MAX_RECORD = 256 << 20;
const MAX_UNWRITTEN = 16 << 20;

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
