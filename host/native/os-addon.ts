/**
 * The functions and classes of os.node with their types.
 *
 * Addresses, offsets and lengths are non-negative safe integers, which the caller ensures. A failed system call throws
 * an Error with `errno`.
 */
import { constants } from "node:os";
import { loadAddon } from "../../common/load-addon.ts";

/** A region of a memory table, in bytes. */
export interface RegionDescription {
  readonly guestAddress: number;
  readonly size: number;
  /** Where QEMU has mapped it; the addresses of rings are in these terms. */
  readonly userAddress: number;
  /** Of the region's first byte in its file. */
  readonly fileOffset: number;
}

export interface MemoryStatus {
  /** Device and inode: equal only for descriptors of one memory. Unique where the system gives neither (Darwin). */
  readonly identity: string;
  /** In bytes. */
  readonly size: number;
}

/**
 * The guest's memory. Bytes are copied in and out with checks; an address outside is an ordinary result, because guests
 * are hostile.
 */
export interface NativeGuestMemory {
  /** Copies bytes out; null if one of them is outside. */
  read(address: number, length: number): Buffer | null;
  /** Copies bytes in; false, with nothing written, if one of them is outside. */
  write(address: number, bytes: Uint8Array): boolean;
  /** `[address, length, …]` as `[memory, offset, length, …]`; null if a byte is outside or `limit` is exceeded. */
  translate(ranges: Float64Array, limit: number): Float64Array | null;
  /** The files behind the regions; several regions are often views of one. */
  memories(): readonly MemoryStatus[];
  /** A new read-only descriptor of one of `memories()`, by index; the file's mode becomes 0600. */
  openMemory(index: number): number;
  /** Unmaps, as soon as the last queue in it is closed too. No other method may be called afterwards. */
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
  /** This chain is invalid; push its head to give it back. */
  | { readonly kind: "fault"; readonly head: number; readonly reason: string }
  /** The ring is invalid; nothing more comes from it. */
  | { readonly kind: "broken"; readonly reason: string };

/** The device's side of a split virtqueue (virtio 1.2, 2.7); the ring logic is os/virtqueue.cc. */
export interface Virtqueue {
  /** Uses the same rings in a new memory table. @throws Error if they are not in it */
  rebind(memory: NativeGuestMemory): void;
  /** Entries that wait; more than the ring has if it is broken. */
  pending(): number;
  /** Takes the next chain; null if none waits. At most `maxReadable` of its bytes are copied. */
  pop(maxReadable: number): Popped | null;
  /** Gives a chain back with a response, cut to the room there is. False if its room is outside the memory. */
  push(head: number, response: Uint8Array): boolean;
  /** Whether the driver wants a call for what was pushed since the last query. */
  takeNotification(): boolean;
  /** Asks the driver to kick for the next entry. True if entries came before it could see that. */
  enableKicks(): boolean;
  /** Next entry of the available ring, as GET_VRING_BASE wants it. */
  nextAvailable(): number;
  /** Releases the memory. No other method may be called afterwards. */
  close(): void;
}

interface OsAddon {
  readonly pollRead: number;
  readonly pollWrite: number;
  readonly pollHangup: number;
  readonly maxPathBytes: number;
  startPoller(dispatch: (reports: readonly number[]) => void): void;
  armWatch(id: number, fd: number, events: number): void;
  removeWatch(id: number): void;
  listen(path: string): number;
  connect(path: string): number;
  accept(fd: number): number | null;
  /** What an inherited descriptor is; a stream socket is made non-blocking. */
  adopt(fd: number): "listening" | "connected" | "other";
  /** User id of the process at the other end of a connected UNIX socket. */
  peerUser(fd: number): number;
  /** Id of the process that has called listen or connect there; 0 if it is not in this one's PID namespace. */
  peerProcess(fd: number): number;
  listenVsock(port: number): number;
  /** Context id of the machine at the other end of a connected vsock socket. */
  peerCid(fd: number): number;
  /** `address` is a number of either family. Connections send without delay (TCP_NODELAY). */
  listenTcp(address: string, port: number): number;
  /** "ADDRESS:PORT" of the other end of a TCP connection. */
  peerAddress(fd: number): string;
  /** Two connected UNIX sockets. */
  socketPair(): [number, number];
  send(fd: number, bytes: Uint8Array, offset: number, descriptors: readonly number[]): number | null;
  receive(
    fd: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
  ): { bytes: number; descriptors: number[] } | null;
  /** The owner closes a descriptor, once. */
  closeDescriptor(fd: number): void;
  ringDoorbell(fd: number): void;
  /** False: the other end is closed. */
  clearDoorbell(fd: number): boolean;
  setNonBlocking(fd: number): void;
  /** Lets every thread make these system calls, and no others, for ever: those fail with EPERM. Throws off Linux. */
  allowSystemCalls(names: readonly string[]): void;
  /** Becomes another program, which gets these descriptors; returns only by an error. */
  execute(path: string, args: readonly string[], descriptors: readonly number[]): never;
  /** Maps the regions and takes the descriptors over, one for each. Throws an Error if the table is invalid. */
  readonly GuestMemory: new (
    regions: readonly RegionDescription[],
    descriptors: readonly number[],
  ) => NativeGuestMemory;
  /** Throws an Error if the rings are not in the memory, or the setup is invalid. */
  readonly Virtqueue: new (
    memory: NativeGuestMemory,
    setup: VirtqueueSetup,
  ) => Virtqueue;
  /**
   * Anonymous shareable memory of `size` bytes, which other users cannot open: a sealed memfd on Linux, elsewhere POSIX
   * shared memory without a name. `name` is for diagnostics.
   */
  createMemory(name: string, size: number): number;
  /** Copies bytes into a memory, also where it does not support write(2) (POSIX shared memory of Darwin). */
  writeMemory(fd: number, offset: number, bytes: Uint8Array): void;
  /** A read-only descriptor of the same memory where the system supports that; else a duplicate. */
  reopenReadOnly(fd: number): number;
  /** Another descriptor of the same file, closed on exec. */
  duplicateDescriptor(fd: number): number;
  /** Identity and size of the memory behind a descriptor. */
  memoryStatus(fd: number): MemoryStatus;
}

/** @throws NativeAddonError when a program that needs the addon starts without it */
export const os = loadAddon("os") as OsAddon;

export const {
  closeDescriptor,
  createMemory,
  duplicateDescriptor,
  memoryStatus,
  reopenReadOnly,
  writeMemory,
} = os;

/** Whether an error of the addon is the system error of this name, e.g. "EADDRINUSE". */
export function isSystemError(error: unknown, name: keyof typeof constants.errno): boolean {
  return error instanceof Error && "errno" in error && error.errno === constants.errno[name];
}
