/*
 * A virtio-gpu for machines without one, whose resources are memfds. It behaves like the kernel
 * where that matters: imports of one dma-buf return one handle, and one close ends it.
 *
 * Connected to the host's side of a test (test/element/support/resource-memory.ts), its memory
 * comes from there, and a real relay can read it. Over that UNIX socket, one request at a time, the
 * guest sends the number of bytes (u64), and the host answers with a resource id (u32) and the
 * memory's descriptor. 0 bytes return everything, and are answered with 0. Numbers are native.
 */
#ifndef TEST_FAKE_GPU_H
#define TEST_FAKE_GPU_H

#include "virtgpu.h"

extern const VencGpuOps fake_gpu;
/* The same, on a host that renders for the guest. */
extern const VencGpuOps fake_3d_gpu;
/* A machine without a virtio-gpu, and one whose virtio-gpu this user may not open. */
extern const VencGpuOps no_gpu, denied_gpu;

typedef struct {
  guint imports, infos, creates; /* ioctls so far */
  guint open_handles;            /* now */
  guint mistakes;                /* handles closed twice, or used after close */
} FakeGpuCounts;

/* Takes memory from the host's side from now on. */
void fake_gpu_connect(const gchar *path);
/* Frees every resource; no handle may be open. */
void fake_gpu_reset(void);
FakeGpuCounts fake_gpu_counts(void);
/* Reports every resource as a blob of this kind, until fake_gpu_reset(). */
void fake_gpu_make_blobs(VencBlob kind);
/* A dma-buf of the device, as made by another program. */
int fake_gpu_new_dmabuf(gsize size);
/* One that is being drawn into while the descriptor `writer` is open. */
int fake_gpu_new_busy_dmabuf(gsize size, int *writer);

#endif
