#include "allocator.h"

#include <unistd.h>

struct _VencAllocator {
  GstDmaBufAllocator parent;
  VencGpu *gpu;
};

G_DEFINE_TYPE(VencAllocator, venc_allocator, GST_TYPE_DMABUF_ALLOCATOR)

static GstMemory *venc_allocator_alloc(GstAllocator *allocator, gsize size,
                                       GstAllocationParams *params) {
  VencAllocator *self = VENC_ALLOCATOR(allocator);
  g_autoptr(GError) error = NULL;
  GstMapInfo map;
  gsize total = size + params->prefix + params->padding;

  int fd = venc_gpu_create_dmabuf(self->gpu, total, &error);
  if (fd < 0) {
    GST_ERROR_OBJECT(self, "%s", error->message);
    return NULL;
  }
  GstMemory *memory = gst_fd_allocator_alloc(allocator, fd, total, GST_FD_MEMORY_FLAG_KEEP_MAPPED);
  if (!memory) {
    close(fd);
    return NULL;
  }
  /* The first mapping is kept for all users, so it must be writable. */
  if (!gst_memory_map(memory, &map, GST_MAP_READWRITE)) {
    GST_ERROR_OBJECT(self, "a resource of %s cannot be mapped", venc_gpu_get_node(self->gpu));
    gst_memory_unref(memory);
    return NULL;
  }
  gst_memory_unmap(memory, &map);
  gst_memory_resize(memory, (gssize)params->prefix, size);
  return memory;
}

static void venc_allocator_finalize(GObject *object) {
  venc_gpu_unref(VENC_ALLOCATOR(object)->gpu);
  G_OBJECT_CLASS(venc_allocator_parent_class)->finalize(object);
}

static void venc_allocator_class_init(VencAllocatorClass *klass) {
  G_OBJECT_CLASS(klass)->finalize = venc_allocator_finalize;
  GST_ALLOCATOR_CLASS(klass)->alloc = venc_allocator_alloc;
}

static void venc_allocator_init(VencAllocator *self) {
  /* Unlike its parent it needs no descriptor from the caller. */
  GST_OBJECT_FLAG_UNSET(self, GST_ALLOCATOR_FLAG_CUSTOM_ALLOC);
}

GstAllocator *venc_allocator_new(VencGpu *gpu) {
  VencAllocator *self = g_object_new(VENC_TYPE_ALLOCATOR, NULL);
  self->gpu = venc_gpu_ref(gpu);
  return GST_ALLOCATOR(gst_object_ref_sink(self));
}
