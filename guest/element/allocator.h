/*
 * Memory for frames: resources of the virtio-gpu, as dma-bufs that stay mapped. The host reads what
 * is written there, without a copy. Any pool can use it, also gst_video_buffer_pool_new().
 */
#ifndef VSOCKENC_ALLOCATOR_H
#define VSOCKENC_ALLOCATOR_H

#include <gst/allocators/allocators.h>

#include "virtgpu.h"

#define VENC_TYPE_ALLOCATOR (venc_allocator_get_type())
G_DECLARE_FINAL_TYPE(VencAllocator, venc_allocator, VENC, ALLOCATOR, GstDmaBufAllocator)

GstAllocator *venc_allocator_new(VencGpu *gpu);

#endif
