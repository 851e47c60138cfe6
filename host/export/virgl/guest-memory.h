/*
 * The VM's shared memory: from an address in QEMU to a memory's number and an offset in it.
 *
 * Theory of operation: QEMU maps the guest's RAM from a memory-backend-memfd (or -file) with
 * share=on. The kernel lists each mapping with file, offset and inode in /proc/self/maps, and QEMU
 * holds the file's descriptor, which is in /proc/self/fd. So nothing has to be known of QEMU.
 */
#ifndef VSOCKENC_VIRGL_GUEST_MEMORY_H
#define VSOCKENC_VIRGL_GUEST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
  uint32_t memory; /* from 1 to MAX_MEMORIES; a number is used for one memory only */
  uint64_t offset; /* in the memory */
  size_t length;   /* bytes from the address on that lie in it without a gap */
} VirglMemoryPlace;

/* Finds where `length` bytes at `address` are; `place->length` may be less. False: not in shared
 * memory. */
bool virgl_guest_memory_find(const void *address, size_t length, VirglMemoryPlace *place);

/* A read-only descriptor of a memory that was just found, and the memory's size in bytes. */
int virgl_guest_memory_descriptor(uint32_t memory, uint64_t *size);

#endif
