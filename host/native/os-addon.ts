/**
 * The functions of os.node with their types, for the wrappers in this folder; everyone else uses those.
 *
 * Addresses, offsets and lengths are non-negative safe integers; the wrappers check them. Failures of system calls
 * are Errors with `errno`.
 */
import { constants } from "node:os";
import { loadAddon } from "../../common/load-addon.ts";

/** A region of a memory table, in bytes. */
export interface RegionDescription {
  readonly guestAddress: number;
  readonly size: number;
  /** Where QEMU has it; the rings' addresses are in these terms. */
  readonly userAddress: number;
  /** Of the region's first byte in its file. */
  readonly fileOffset: number;
}

export interface MemoryStatus {
  /** Device and inode: equal only for descriptors of one memory. Unique where the system does not tell (Darwin). */
  readonly identity: string;
  /** In bytes. */
  readonly size: number;
}

export interface NativeGuestMemory {
  read(address: number, length: number): Buffer | null;
  write(address: number, bytes: Uint8Array): boolean;
  translate(ranges: Float64Array, limit: number): Float64Array | null;
  memories(): MemoryStatus[];
  openMemory(index: number): number;
  close(): void;
}

export interface VirtqueueSetup {
  /** Entries. */
  readonly size: number;
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
  /** First entry of the available ring to take. */
  readonly base: number;
  readonly eventIndex: boolean;
  readonly indirect: boolean;
}

/** What the driver has queued. */
export type Popped =
  | {
      readonly kind: "chain";
      readonly head: number;
      /** The driver's bytes, cut at the bound given to pop. */
      readonly readable: Buffer;
      /** All of them. */
      readonly readableLength: number;
      readonly writableLength: number;
    }
  /** This chain is wrong; push its head to give it back. */
  | { readonly kind: "fault"; readonly head: number; readonly reason: string }
  /** The ring is wrong; nothing more comes from it. */
  | { readonly kind: "broken"; readonly reason: string };

export interface NativeVirtqueue {
  rebind(memory: NativeGuestMemory): void;
  pending(): number;
  pop(maxReadable: number): Popped | null;
  push(head: number, answer: Uint8Array): boolean;
  takeNotification(): boolean;
  enableKicks(): boolean;
  nextAvailable(): number;
  close(): void;
}

interface OsAddon {
  readonly pollRead: number;
  readonly pollWrite: number;
  readonly maxPathBytes: number;
  readonly maxDescriptors: number;
  startPoller(dispatch: (reports: readonly number[]) => void): void;
  armWatch(id: number, fd: number, events: number): void;
  removeWatch(id: number): void;
  listen(path: string): number;
  connect(path: string): number;
  accept(fd: number): number | null;
  adopt(fd: number): "listening" | "connected" | "other";
  peerUser(fd: number): number;
  listenVsock(port: number): number;
  peerCid(fd: number): number;
  send(fd: number, bytes: Uint8Array, offset: number, descriptors: readonly number[]): number | null;
  receive(
    fd: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
  ): { bytes: number; descriptors: number[] } | null;
  closeDescriptor(fd: number): void;
  ring(fd: number): void;
  silence(fd: number): boolean;
  setNonBlocking(fd: number): void;
  readonly GuestMemory: new (
    regions: readonly RegionDescription[],
    descriptors: readonly number[],
  ) => NativeGuestMemory;
  readonly Virtqueue: new (memory: NativeGuestMemory, setup: VirtqueueSetup) => NativeVirtqueue;
  createMemory(name: string, size: number): number;
  writeMemory(fd: number, offset: number, bytes: Uint8Array): void;
  reopenReadOnly(fd: number): number;
  duplicate(fd: number): number;
  status(fd: number): MemoryStatus;
}

/** @throws NativeAddonError when a program that needs the addon starts without it */
export const os = loadAddon("os") as OsAddon;

/** Whether an error of the addon is the system error of this name, e.g. "EADDRINUSE". */
export function isSystemError(error: unknown, name: keyof typeof constants.errno): boolean {
  return error instanceof Error && "errno" in error && error.errno === constants.errno[name];
}
