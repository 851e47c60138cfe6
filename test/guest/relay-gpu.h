/*
 * A virtio-gpu for machines that have none, whose resources a real relay can read: their memory
 * comes from the host's side of the test (test/element/support/resource-memory.ts), which also
 * serves it to the relay as an exporter.
 *
 * Over a UNIX socket, one request at a time: the guest sends the bytes it wants (u64), the host
 * answers with the resource's id (u32) and a descriptor of its memory. 0 bytes give back everything
 * that was given so far, and are answered with 0. Both sides are one machine: numbers are native.
 */
#ifndef TEST_RELAY_GPU_H
#define TEST_RELAY_GPU_H

#include "virtgpu.h"

extern const VencGpuOps relay_gpu;

/* Connects to the host's side. */
void relay_gpu_connect(const gchar *path);
/* Gives every resource back; nobody may use one any more. */
void relay_gpu_reset(void);
/* GEM handles that are open. */
guint relay_gpu_open_handles(void);

#endif
