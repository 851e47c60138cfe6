/**
 * A scripted QEMU and guest driver for the GPU process: a real vhost-user socket, real rings in a real shared memory.
 * Guest memory is written and read through the memory's file, independently of the code under test.
 *
 * The memory is shown as two regions that are views of one file, the second at guest address 4 GiB, as QEMU does
 * with more than 3 GiB.
 */
import { mkdtempSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach } from "vitest";
import { ExportClient, type ExportClientEvents } from "../../../host/export/client.ts";
import { GpuService, type GpuServiceOptions } from "../../../host/gpu/service.ts";
import { closeDescriptor, createMemory, duplicateDescriptor } from "../../../host/native/os-addon.ts";
import { type Pipe, pair, pipes, until, VhostSocket } from "./vhost-socket.ts";

export const REGION_BYTES = 4 << 20;
export const HIGH_ADDRESS = 2 ** 32;
const USER_ADDRESS = 0x7f00_0000_0000;
const HIGH_USER_ADDRESS = 0x7f10_0000_0000;

/** What QEMU 10.0 with a Linux guest sends in SET_FEATURES: transport bits that were not offered included. */
export const QEMU_FEATURES = 0x101_7000_0002n;

interface RingPlace {
  readonly size: number;
  /** Guest addresses in the low region. */
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
  /** Of the buffers for commands and answers of this ring. */
  readonly buffers: number;
}

const RINGS: readonly RingPlace[] = [
  { size: 64, descriptors: 0x1000, available: 0x2000, used: 0x3000, buffers: 0x10_0000 },
  { size: 16, descriptors: 0x5000, available: 0x6000, used: 0x7000, buffers: 0x8_0000 },
];
/** The bytes that QEMU and Linux write into a doorbell of any kind. */
export const RING = Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]);
const ANSWER_OFFSET = 0x8_0000;
const ANSWER_BYTES = 2048;

export interface Descriptor {
  readonly address: number;
  readonly length: number;
  readonly flags: number;
  readonly next: number;
}
export const NEXT = 1;
export const WRITE = 2;
export const INDIRECT = 4;

export class FrontEnd {
  readonly folder: string;
  readonly memory = createMemory("guest", 2 * REGION_BYTES);
  readonly #service: GpuService | undefined;
  readonly #socket: VhostSocket;
  /** Of each ring; the device has the reading ends of the kicks, and the writing ends of the calls. */
  readonly kicks: readonly Pipe[];
  readonly calls: readonly Pipe[];
  readonly #next = [0, 0];
  readonly #closed = new Set<number>();
  readonly #clients: ExportClient[] = [];

  private constructor(folder: string, gpu: string, service?: GpuService) {
    this.folder = folder;
    this.#service = service;
    this.#socket = new VhostSocket(gpu);
    const bells = pipes(folder, 2 * RINGS.length);
    this.kicks = bells.slice(0, RINGS.length);
    this.calls = bells.slice(RINGS.length);
  }

  static start(options: Partial<GpuServiceOptions> = {}): FrontEnd {
    const folder = mkdtempSync(join(tmpdir(), "vsockenc-gpu-"));
    const service = new GpuService(
      {
        endpoint: { kind: "path", path: join(folder, "gpu") },
        exportPath: join(folder, "export"),
        exportUsers: [],
        heads: 2,
        mode: { width: 1280, height: 800 },
        ...options,
      },
      pino({ level: "silent" }),
    );
    service.ended.catch(() => undefined);
    return new FrontEnd(folder, join(folder, "gpu"), service);
  }

  /** For a GPU process that listens at `gpu`; clients connect to its export socket, not by client(). */
  static connect(gpu: string): FrontEnd {
    return new FrontEnd(mkdtempSync(join(tmpdir(), "vsockenc-gpu-")), gpu);
  }

  /** @throws Error for a GPU in another process */
  get service(): GpuService {
    if (this.#service === undefined) throw new Error("the GPU is in another process");
    return this.#service;
  }

  get ended(): boolean {
    return this.#socket.ended;
  }

  /** QEMU ends. */
  disconnect(): void {
    this.#socket.close();
  }

  async close(): Promise<void> {
    for (const client of this.#clients) client.close();
    this.#socket.close();
    this.#service?.close();
    for (const { read, write } of [...this.kicks, ...this.calls]) {
      for (const fd of [read, write]) if (!this.#closed.has(fd)) closeDescriptor(fd);
    }
    closeDescriptor(this.memory);
    await this.#service?.ended.catch(() => undefined);
    rmSync(this.folder, { recursive: true });
  }

  async client(events: ExportClientEvents = {}): Promise<ExportClient> {
    const client = await ExportClient.connect(join(this.folder, "export"), events);
    this.#clients.push(client);
    return client;
  }

  // The vhost-user side.

  /** Resolves when the device has handled everything that was sent or rung before. */
  async roundTrip(): Promise<void> {
    await this.ask(1);
    await this.ask(1);
  }

  send(request: number, payload?: Buffer, descriptors?: readonly number[], flags?: number): void {
    this.#socket.send(request, payload, descriptors, flags);
  }

  ask(request: number, payload?: Buffer, descriptors?: readonly number[]): Promise<Buffer> {
    return this.#socket.ask(request, payload, descriptors);
  }

  acknowledged(request: number, payload: Buffer, descriptors?: readonly number[]): Promise<bigint> {
    return this.#socket.acknowledged(request, payload, descriptors);
  }

  async negotiate(): Promise<void> {
    await this.ask(1);
    await this.ask(15);
    this.send(16, u64((1n << 3n) | (1n << 9n) | (1n << 13n)));
    this.send(3);
    await this.ask(1);
  }

  memoryTable(): Buffer {
    const table = Buffer.alloc(8 + 64);
    table.writeUInt32LE(2, 0);
    [
      [0, REGION_BYTES, USER_ADDRESS, 0],
      [HIGH_ADDRESS, REGION_BYTES, HIGH_USER_ADDRESS, REGION_BYTES],
    ].forEach((fields, region) => {
      fields.forEach((field, i) => {
        table.writeBigUInt64LE(BigInt(field), 8 + region * 32 + i * 8);
      });
    });
    return table;
  }

  /** DRIVER_OK as QEMU 10.0 does it, from GPU_SET_SOCKET on; bases other than 0 are a `cont`. */
  async startDevice(
    options: { bases?: readonly number[]; features?: bigint; enable?: boolean } = {},
  ): Promise<void> {
    const { bases = [0, 0], features = QEMU_FEATURES, enable = true } = options;
    const [display, displayed] = await pair(this.folder);
    this.send(33, Buffer.alloc(0), [displayed]);
    for (let ring = 0; ring < RINGS.length; ring++) {
      this.send(13, u64(BigInt(ring)), [bell(this.calls, ring).write]);
    }
    this.send(2, u64(features));
    const views = [duplicateDescriptor(this.memory), duplicateDescriptor(this.memory)];
    const status = await this.acknowledged(5, this.memoryTable(), views);
    for (const fd of [...views, display, displayed]) closeDescriptor(fd);
    if (status !== 0n) throw new Error("the memory table was refused");
    RINGS.forEach((place, ring) => {
      this.send(8, state(ring, place.size));
      this.send(10, state(ring, bases[ring] ?? 0));
      const addresses = Buffer.alloc(40);
      addresses.writeUInt32LE(ring, 0);
      [place.descriptors, place.used, place.available].forEach((address, i) => {
        addresses.writeBigUInt64LE(BigInt(USER_ADDRESS + address), 8 + i * 8);
      });
      this.send(9, addresses);
      this.send(12, u64(BigInt(ring)), [bell(this.kicks, ring).read]);
    });
    if (!enable) return;
    for (let ring = 0; ring < RINGS.length; ring++) await this.acknowledged(18, state(ring, 1));
  }

  /** As QEMU does for `stop` and for a reset. */
  async stopDevice(): Promise<readonly number[]> {
    const bases: number[] = [];
    for (let ring = 0; ring < RINGS.length; ring++) await this.acknowledged(18, state(ring, 0));
    for (let ring = 0; ring < RINGS.length; ring++) {
      bases.push((await this.ask(11, state(ring, 0))).readUInt32LE(4));
    }
    return bases;
  }

  // The guest's side.

  write(address: number, bytes: Buffer): void {
    writeSync(this.memory, bytes, 0, bytes.length, this.#offset(address));
  }

  read(address: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    readSync(this.memory, bytes, 0, length, this.#offset(address));
    return bytes;
  }

  #offset(address: number): number {
    return address >= HIGH_ADDRESS ? REGION_BYTES + address - HIGH_ADDRESS : address;
  }

  usedIndex(ring: number): number {
    return this.read(place(ring).used + 2, 2).readUInt16LE(0);
  }

  /** Writes descriptors from the ring's first on and makes `head` available, without a kick. */
  queue(ring: number, descriptors: readonly Descriptor[], head = 0): void {
    const { size, available } = place(ring);
    descriptors.forEach((descriptor, i) => {
      this.write(place(ring).descriptors + i * 16, descriptorBytes(descriptor));
    });
    const next = this.#next[ring] ?? 0;
    const entry = Buffer.alloc(2);
    entry.writeUInt16LE(head);
    this.write(available + 4 + (next % size) * 2, entry);
    this.setAvailable(ring, next + 1);
  }

  setAvailable(ring: number, index: number): void {
    this.#next[ring] = index & 0xffff;
    const bytes = Buffer.alloc(2);
    bytes.writeUInt16LE(index & 0xffff);
    this.write(place(ring).available + 2, bytes);
  }

  kick(ring: number): void {
    writeSync(bell(this.kicks, ring).write, RING);
  }

  /** Closes one end of a doorbell before its time. */
  closeBell(fd: number): void {
    this.#closed.add(fd);
    closeDescriptor(fd);
  }

  /** Bytes that wait in a doorbell's pipe; they are gone afterwards. */
  drain({ read }: Pipe): number {
    const bytes = Buffer.alloc(1 << 20);
    try {
      return readSync(read, bytes);
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "EAGAIN") return 0;
      throw error;
    }
  }

  /** Clears the rings, as a new driver does. */
  clearRings(): void {
    for (const { descriptors, buffers } of RINGS.slice(1))
      this.write(descriptors, Buffer.alloc(buffers - descriptors));
    this.write(0x1000, Buffer.alloc(0x4000));
    this.#next.fill(0);
  }

  /** Makes a chain available, rings, and waits until it comes back. Returns the length of the answer. */
  async offer(ring: number, descriptors: readonly Descriptor[]): Promise<number> {
    const before = this.usedIndex(ring);
    this.queue(ring, descriptors);
    this.kick(ring);
    await until("the chain", () => this.usedIndex(ring) !== before);
    return this.usedEntry(ring, before).readUInt32LE(4);
  }

  /** An entry of the used ring: head, and length of the answer. */
  usedEntry(ring: number, index: number): Buffer {
    return this.read(place(ring).used + 4 + (index % place(ring).size) * 8, 8);
  }

  /** Queues a command with room for an answer, and rings. */
  submit(command: Buffer, ring = 0): { isDone(): boolean; answer(): Promise<Buffer> } {
    const submitted = this.submitSilently(command, ring);
    this.kick(ring);
    return submitted;
  }

  /** Queues a command with room for an answer; returns how to take the answer. */
  submitSilently(command: Buffer, ring = 0): { isDone(): boolean; answer(): Promise<Buffer> } {
    const { buffers } = place(ring);
    const answerAt = buffers + ANSWER_OFFSET;
    this.write(buffers, command);
    this.write(answerAt, Buffer.alloc(ANSWER_BYTES, 0xee));
    const before = this.usedIndex(ring);
    this.queue(ring, [
      { address: buffers, length: command.length, flags: NEXT, next: 1 },
      { address: answerAt, length: ANSWER_BYTES, flags: WRITE, next: 0 },
    ]);
    const isDone = () => this.usedIndex(ring) !== before;
    return {
      isDone,
      answer: async () => {
        await until("the device's answer", () => isDone());
        return this.read(answerAt, this.usedEntry(ring, before).readUInt32LE(4));
      },
    };
  }

  /** A command from kick to answer. */
  async command(command: Buffer, ring = 0): Promise<Buffer> {
    return await this.submit(command, ring).answer();
  }

  /** Type of the answer to a command. */
  async answer(command: Buffer, ring = 0): Promise<number> {
    return (await this.command(command, ring)).readUInt32LE(0);
  }
}

/** The front end of the present test; see useFrontEnd. */
export let front: FrontEnd;

/** Gives every test of the file a front end that `prepare` has brought as far as the tests want it. */
export function useFrontEnd(prepare: (front: FrontEnd) => Promise<void> | void): void {
  beforeEach(async () => {
    front = FrontEnd.start();
    await prepare(front);
  });
  afterEach(() => front.close());
}

/** The driver has started the device. */
export async function started(starting: FrontEnd): Promise<void> {
  await starting.negotiate();
  await starting.startDevice();
}

function bell(bells: readonly Pipe[], ring: number): Pipe {
  const found = bells[ring];
  if (found === undefined) throw new Error(`no ring ${ring}`);
  return found;
}

function place(ring: number): RingPlace {
  const found = RINGS[ring];
  if (found === undefined) throw new Error(`no ring ${ring}`);
  return found;
}

export function descriptorBytes({ address, length, flags, next }: Descriptor): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64LE(BigInt(address), 0);
  bytes.writeUInt32LE(length, 8);
  bytes.writeUInt16LE(flags, 12);
  bytes.writeUInt16LE(next, 14);
  return bytes;
}

export function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

export function state(index: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(index, 0);
  bytes.writeUInt32LE(value, 4);
  return bytes;
}

/** A command's header and 32-bit fields. */
export function gpuCommand(type: number, fields: readonly number[] = [], fence?: bigint): Buffer {
  const bytes = Buffer.alloc(24 + fields.length * 4);
  bytes.writeUInt32LE(type, 0);
  if (fence !== undefined) {
    bytes.writeUInt32LE(1, 4);
    bytes.writeBigUInt64LE(fence, 8);
  }
  fields.forEach((field, i) => {
    bytes.writeUInt32LE(field, 24 + i * 4);
  });
  return bytes;
}

export const create = (id: number, width = 64, height = 64): Buffer =>
  gpuCommand(0x101, [id, 1, width, height]);
export const unref = (id: number): Buffer => gpuCommand(0x102, [id, 0]);
export const setScanout = (head: number, id: number, width = 64, height = 64): Buffer =>
  gpuCommand(0x103, [0, 0, width, height, head, id]);
export const flush = (id: number, rectangle: readonly [number, number, number, number]): Buffer =>
  gpuCommand(0x104, [...rectangle, id, 0]);
export const attach = (id: number, ranges: readonly (readonly [number, number])[]): Buffer =>
  gpuCommand(0x106, [
    id,
    ranges.length,
    ...ranges.flatMap(([address, length]) => [address % 2 ** 32, Math.floor(address / 2 ** 32), length, 0]),
  ]);
export const detach = (id: number): Buffer => gpuCommand(0x107, [id, 0]);

/** Starts the device and gives resource 5, of 64x64 pixels, three runs of pages, the last in the high region. */
export async function exportResource(front: FrontEnd): Promise<void> {
  await front.startDevice();
  await front.answer(create(5));
  await front.answer(
    attach(5, [
      [0x20_0000, 4096],
      [0x20_1000, 4096],
      [HIGH_ADDRESS + 0x3000, 8192],
    ]),
  );
}
