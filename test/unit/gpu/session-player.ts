/**
 * Asks a real device again what a recorded session (host/gpu/session-recording.ts) asked, and compares the answers.
 *
 * It is QEMU and the guest's driver at once: messages go over a real vhost-user socket, commands through real rings
 * in a shared memory of the recorded layout, at the recorded addresses. The memory is sparse, so a guest of several
 * GiB costs a few pages. Commands are placed one at a time; where the guest had its buffers does not matter, for the
 * device copies what it reads.
 */
import { mkdtempSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { GpuService } from "../../../host/gpu/service.ts";
import {
  type CommandEntry,
  type DescriptorFields,
  type FaultEntry,
  type MessageEntry,
  parseBytes,
  parseSession,
  type SessionEntry,
  type SessionHead,
} from "../../../host/gpu/session-recording.ts";
import {
  parseMemoryTable,
  parseRingAddresses,
  parseRingState,
  Request,
} from "../../../host/gpu/vhost-user-protocol.ts";
import type { RegionDescription } from "../../../host/native/os-addon.ts";
import { closeDescriptor, createMemory, duplicateDescriptor } from "../../../host/native/os-addon.ts";
import { pair, until, VhostSocket } from "./vhost-socket.ts";

const DESCRIPTOR_BYTES = 16;
const NEXT = 1;
const WRITE = 2;
const DEFAULT_FLAGS = 1;
const NEED_REPLY_FLAGS = 9;
/** What stands for a fault that was recorded: only that there was one matters. */
const WRONG_CHAIN: readonly DescriptorFields[] = [[0, 16, NEXT, 0]];
const RING = Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]);
/** Between the driver's buffers and the rings. */
const SCRATCH_ALIGNMENT = 1 << 20;

interface RingPlace {
  size: number;
  base: number;
  /** File offsets. */
  descriptors: number;
  available: number;
  used: number;
  /** Next entry of the available ring. */
  next: number;
  /** What makes the device look; undefined before SET_VRING_KICK. */
  kick: number | undefined;
}

const newRing = (): RingPlace => ({
  ...{ size: 0, base: 0, descriptors: 0, available: 0, used: 0, next: 0, kick: undefined },
});

/** What was recorded and what came, for an assertion. */
export interface Played {
  readonly recorded: string[];
  readonly played: string[];
}

export class SessionPlayer {
  readonly exportPath: string;
  /** Undefined: another process's. */
  readonly #service: GpuService | undefined;
  readonly #folder: string;
  readonly #socket: VhostSocket;
  readonly #memories = new Map<number, number>();
  readonly #rings = [newRing(), newRing()];
  readonly #bells: number[] = [];
  #regions: readonly RegionDescription[] = [];
  #files: readonly number[] = [];
  #asked = 0;

  /** @param running sockets of a GPU process; by default a service is started in this one */
  constructor(
    { heads, mode: [width, height] }: SessionHead,
    running?: { readonly path: string; readonly exportPath: string },
  ) {
    this.#folder = mkdtempSync(join(tmpdir(), "vsockenc-play-"));
    const path = running?.path ?? join(this.#folder, "gpu");
    const exportPath = running?.exportPath ?? join(this.#folder, "export");
    const options = { exportPath, exportUsers: [], heads, mode: { width, height } };
    const service = () =>
      new GpuService({ endpoint: { kind: "path", path }, ...options }, pino({ level: "silent" }));
    this.#service = running === undefined ? service() : undefined;
    this.exportPath = exportPath;
    this.#socket = new VhostSocket(path);
  }

  /** Plays a whole session on a device of its own. */
  static async play(text: string): Promise<Played> {
    const [head, ...entries] = parseSession(text);
    const player = new SessionPlayer(head as SessionHead);
    try {
      return await player.play(entries);
    } finally {
      await player.close();
    }
  }

  async play(entries: readonly SessionEntry[]): Promise<Played> {
    const result: Played = { recorded: [], played: [] };
    for (const entry of entries) {
      if ("message" in entry) await this.#message(entry);
      else if ("reply" in entry) {
        const what = `reply to ${this.#asked}: `;
        result.recorded.push(what + entry.reply.toString("hex"));
        result.played.push(what + (await this.#socket.reply(this.#asked)).toString("hex"));
      } else if ("command" in entry) {
        const what = `answer to ${entry.command.toString("hex", 0, 32)}: `;
        result.recorded.push(what + entry.answer.toString("hex"));
        result.played.push(what + (await this.#command(entry)).toString("hex"));
      } else if ("fault" in entry) {
        result.recorded.push(`no answer: ${entry.fault}`);
        result.played.push(`${(await this.#fault(entry)) ? "no" : "an"} answer: ${entry.fault}`);
      }
    }
    return result;
  }

  async close(): Promise<void> {
    this.#socket.close();
    this.#service?.close();
    await this.#service?.ended;
    for (const fd of [...this.#bells, ...this.#memories.values()]) closeDescriptor(fd);
    rmSync(this.#folder, { recursive: true });
  }

  async #message({ message, payload, needsReply, descriptors = 0, files = [] }: MessageEntry): Promise<void> {
    this.#asked = message;
    if (files.length > 0) {
      this.#regions = parseMemoryTable(payload);
      this.#files = files.map(([file]) => file);
      for (const [file, size] of files) {
        if (!this.#memories.has(file)) this.#memories.set(file, createMemory("guest", size));
      }
    }
    this.#followRings(message, payload);
    const sent: number[] = files.map(([file]) => duplicateDescriptor(this.#memories.get(file) ?? -1));
    while (sent.length < descriptors) {
      const [near, far] = await pair(this.#folder);
      this.#bells.push(near);
      sent.push(far);
      const ring = this.#rings[payload[0] ?? 0];
      if (message === Request.SET_VRING_KICK && ring !== undefined) ring.kick = near;
    }
    this.#socket.send(message, payload, sent, needsReply === true ? NEED_REPLY_FLAGS : DEFAULT_FLAGS);
    sent.forEach(closeDescriptor);
  }

  /** What the driver would know about its rings. */
  #followRings(message: number, payload: Buffer): void {
    switch (message) {
      case Request.SET_VRING_NUM:
        this.#ring(payload).size = parseRingState(payload).value;
        break;
      case Request.SET_VRING_BASE:
        this.#ring(payload).base = parseRingState(payload).value;
        break;
      case Request.SET_VRING_ADDR: {
        const { descriptors, available, used } = parseRingAddresses(payload);
        Object.assign(this.#ring(payload), {
          descriptors: this.#offset(descriptors),
          available: this.#offset(available),
          used: this.#offset(used),
        });
        break;
      }
      case Request.SET_VRING_KICK: {
        const ring = this.#ring(payload);
        ring.next = ring.base;
        // A new driver has cleared its rings; one that was stopped goes on.
        if (ring.base === 0) this.#write(ring.used, Buffer.alloc(4));
        this.#writeU16(ring.available, 0);
        this.#writeU16(ring.available + 2, ring.base);
        break;
      }
    }
  }

  async #command({ ring, command, room }: CommandEntry): Promise<Buffer> {
    const at = this.#scratch(command.length + room);
    const answerAt = at + command.length;
    this.#write(this.#fileOffset(at), command);
    const length = await this.#offer(ring, [
      [at, command.length, room > 0 ? NEXT : 0, 1],
      [answerAt, room, WRITE, 0],
    ]);
    return this.#read(this.#fileOffset(answerAt), length);
  }

  /** Does what is wrong; true if nothing was answered. */
  async #fault({ ring: index, chain = WRONG_CHAIN, memory = [], available }: FaultEntry): Promise<boolean> {
    for (const [address, bytes] of memory) this.#write(this.#fileOffset(address), parseBytes(bytes));
    if (available === undefined) return (await this.#offer(index, chain)) === 0;
    const ring = this.#started(index);
    const before = this.#readU16(ring.used + 2);
    this.#writeU16(ring.available + 2, available);
    writeSync(ring.kick, RING);
    // Two round trips: the kick has been handled then.
    for (let i = 0; i < 2; i++) await this.#socket.ask(Request.GET_FEATURES);
    return this.#readU16(ring.used + 2) === before;
  }

  /** Makes a chain available and waits until it comes back; gives the length of the answer. */
  async #offer(index: number, chain: readonly DescriptorFields[]): Promise<number> {
    const ring = this.#started(index);
    this.#write(ring.descriptors, Buffer.concat(chain.map(descriptorBytes)));
    const before = this.#readU16(ring.used + 2);
    this.#writeU16(ring.available + 4 + (ring.next % ring.size) * 2, 0);
    ring.next = (ring.next + 1) & 0xffff;
    this.#writeU16(ring.available + 2, ring.next);
    writeSync(ring.kick, RING);
    await until("a chain", () => this.#readU16(ring.used + 2) !== before);
    return this.#read(ring.used + 4 + (before % ring.size) * 8, 8).readUInt32LE(4);
  }

  #started(index: number): RingPlace & { kick: number } {
    const ring = this.#rings[index];
    if (ring?.kick === undefined) throw new Error(`ring ${index} is not started`);
    return ring as RingPlace & { kick: number };
  }

  /** A guest address with that many bytes behind it in which no ring lies. */
  #scratch(bytes: number): number {
    const region = this.#regions.reduce((a, b) => (b.size > a.size ? b : a));
    const taken = this.#rings.flatMap((ring) => [ring.descriptors, ring.available, ring.used]);
    let at = 0;
    const collides = (): boolean =>
      taken.some((ring) => {
        const start = ring - region.fileOffset;
        return start + SCRATCH_ALIGNMENT > at && start < at + bytes;
      });
    while (collides()) at += SCRATCH_ALIGNMENT;
    if (at + bytes > region.size) throw new Error("no room for a command");
    return region.guestAddress + at;
  }

  #ring(payload: Buffer): RingPlace {
    const ring = this.#rings[payload[0] ?? 0];
    if (ring === undefined) throw new Error(`ring ${payload[0]}`);
    return ring;
  }

  /** In the first file, as QEMU has it: all regions are views of one. */
  #offset(userAddress: number): number {
    const region = this.#regions.find(
      (one) => userAddress >= one.userAddress && userAddress < one.userAddress + one.size,
    );
    if (region === undefined) throw new Error(`no region holds 0x${userAddress.toString(16)}`);
    return userAddress - region.userAddress + region.fileOffset;
  }

  #fileOffset(guestAddress: number): number {
    const region = this.#regions.find(
      (one) => guestAddress >= one.guestAddress && guestAddress < one.guestAddress + one.size,
    );
    return guestAddress - (region?.guestAddress ?? 0) + (region?.fileOffset ?? 0);
  }

  get #memory(): number {
    return this.#memories.get(this.#files[0] ?? 0) ?? -1;
  }

  #read(offset: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    readSync(this.#memory, bytes, 0, length, offset);
    return bytes;
  }

  #write(offset: number, bytes: Buffer): void {
    writeSync(this.#memory, bytes, 0, bytes.length, offset);
  }

  #readU16(offset: number): number {
    return this.#read(offset, 2).readUInt16LE(0);
  }

  #writeU16(offset: number, value: number): void {
    const bytes = Buffer.alloc(2);
    bytes.writeUInt16LE(value);
    this.#write(offset, bytes);
  }
}

function descriptorBytes([address, length, flags, next]: DescriptorFields): Buffer {
  const bytes = Buffer.alloc(DESCRIPTOR_BYTES);
  bytes.writeBigUInt64LE(BigInt(address), 0);
  bytes.writeUInt32LE(length, 8);
  bytes.writeUInt16LE(flags, 12);
  bytes.writeUInt16LE(next, 14);
  return bytes;
}
