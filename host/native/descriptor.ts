/** File descriptors as plain numbers. The owner closes a descriptor, once. */
import { type MemoryStatus, os } from "./os-addon.ts";

export type { MemoryStatus };

/** Closes a descriptor. */
export const closeDescriptor = (fd: number): void => os.closeDescriptor(fd);

/** Another descriptor of the same file, closed on exec. */
export const duplicateDescriptor = (fd: number): number => os.duplicate(fd);

/** Identity and size of the memory behind a descriptor. */
export const memoryStatus = (fd: number): MemoryStatus => os.status(fd);

/**
 * Anonymous shareable memory, which other users cannot open: a sealed memfd on Linux, elsewhere POSIX shared memory
 * without a name.
 *
 * @param name for diagnostics
 * @param size in bytes
 */
export const createMemory = (name: string, size: number): number => os.createMemory(name, size);

/**
 * Copies bytes into a memory, also where it does not support write(2) (POSIX shared memory of Darwin).
 *
 * @param offset in the memory, in bytes
 */
export const writeMemory = (fd: number, offset: number, bytes: Uint8Array): void =>
  os.writeMemory(fd, offset, bytes);

/** A read-only descriptor of the same memory where the system supports that; else a duplicate. */
export const reopenReadOnly = (fd: number): number => os.reopenReadOnly(fd);
