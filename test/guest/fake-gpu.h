/*
 * A virtio-gpu for machines that have none: resources are memfds. It keeps the kernel's manners
 * that matter: an import gives one handle for one dma-buf, and one close ends it.
 */
#ifndef TEST_FAKE_GPU_H
#define TEST_FAKE_GPU_H

#include "virtgpu.h"

extern const VencGpuOps fake_gpu;
/* The same, of a host that renders for the guest. */
extern const VencGpuOps fake_3d_gpu;
/* A machine without a virtio-gpu. */
extern const VencGpuOps no_gpu;

typedef struct {
  guint imports, infos, creates; /* ioctls so far */
  guint open_handles;            /* now */
  guint mistakes;                /* a handle closed twice, or used after */
} FakeGpuCounts;

void fake_gpu_reset(void);
void fake_gpu_get_counts(FakeGpuCounts *counts);
/* A dma-buf of the device, as another program would have made it. */
int fake_gpu_new_dmabuf(gsize size);
/* One that somebody is drawing into for as long as the descriptor in `writer` is open. */
int fake_gpu_new_busy_dmabuf(gsize size, int *writer);

#endif
