/*
 * The virtual machine's virtio-gpu: which resource is behind a dma-buf, and new resources.
 *
 * Its DRM descriptor is the element's own. A GEM handle belongs to a descriptor, and importing one
 * dma-buf twice gives the same handle, which one close ends for every user of the descriptor. So
 * the descriptor is not shared, and venc_gpu_lookup() is called once for a dma-buf.
 */
#ifndef VSOCKENC_VIRTGPU_H
#define VSOCKENC_VIRTGPU_H

#include <gst/allocators/allocators.h>

/*
 * A descriptor of the node, or -errno; -ENODEV if it is not of the driver virtio_gpu: the first
 * node may be another device's. `refused` is set where only a permission is missing.
 */
int venc_drm_open(const gchar *path, gboolean *refused);
/* The first of the nodes that `format` names from `number` on; a new string in `node`. */
int venc_drm_open_first(const gchar *format, guint number, gchar **node, gboolean *refused);
/* Whether the host renders for it (virgl, Venus). The CPU reads rendered buffers as black. */
gboolean venc_drm_is_3d(int drm);

/* VIRTGPU_BLOB_MEM_* of the kernel; libdrm's header is older. 0: not a blob. */
typedef enum { VENC_BLOB_GUEST = 1, VENC_BLOB_HOST3D = 2, VENC_BLOB_HOST3D_GUEST = 3 } VencBlob;

/* The kernel's part, replaced in tests. Each function returns 0 (or a descriptor) or -errno. */
typedef struct {
  int (*open)(gchar **node, gboolean *refused);
  int (*import)(int drm, int dmabuf, guint32 *handle);
  /* `blob`: a VencBlob. */
  int (*info)(int drm, guint32 handle, guint32 *resource, guint64 *size, guint32 *blob);
  int (*create)(int drm, guint32 width, guint32 height, guint64 size, guint32 *handle);
  int (*export)(int drm, guint32 handle);
  int (*close_handle)(int drm, guint32 handle);
  gboolean (*is_3d)(int drm);
} VencGpuOps;

extern const VencGpuOps venc_gpu_kernel;

/* Written by virtgpu.c alone. */
typedef struct {
  gint references;
  const VencGpuOps *ops;
  int fd;
  gchar *node;
  gboolean is_3d;
} VencGpu;

typedef struct {
  guint32 handle;
  guint32 resource;
  guint64 size;
  gboolean host_memory; /* a blob of the host's memory, as Vulkan (Venus) makes them */
} VencGpuObject;

#define VENC_GPU_ERROR (venc_gpu_error_quark())
GQuark venc_gpu_error_quark(void);

typedef enum {
  VENC_GPU_ERROR_NONE,    /* the machine has no virtio-gpu */
  VENC_GPU_ERROR_DENIED,  /* it has nodes that this user may not open */
  VENC_GPU_ERROR_FOREIGN, /* the dma-buf belongs to another device */
  VENC_GPU_ERROR_FAILED,
} VencGpuError;

VencGpu *venc_gpu_new(const VencGpuOps *ops, GError **error);
VencGpu *venc_gpu_ref(VencGpu *gpu);
void venc_gpu_unref(VencGpu *gpu);

gboolean venc_gpu_lookup(VencGpu *gpu, int dmabuf, VencGpuObject *object, GError **error);
void venc_gpu_close(VencGpu *gpu, const VencGpuObject *object);

/* A new linear resource of at least `size` bytes as a dma-buf, which alone keeps it. -1: error. */
int venc_gpu_create_dmabuf(VencGpu *gpu, gsize size, GError **error);
/*
 * Memory for frames: resources as dma-bufs that stay mapped. The host reads what is written there,
 * without a copy. Any pool can use it, also gst_video_buffer_pool_new().
 */
GstAllocator *venc_allocator_new(VencGpu *gpu);
gboolean venc_allocator_made(const GstMemory *memory);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VencGpu, venc_gpu_unref)

#endif
