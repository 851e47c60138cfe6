#include "virtgpu.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <virtgpu_drm.h>
#include <xf86drm.h>

#include "vsockenc-formats.h"

#define DRIVER "virtio_gpu"
/* Nodes of a kind that the kernel numbers at the most (DRM_MINOR_*, 64 apart). */
#define DRM_NODES 64u
#define FIRST_RENDER_NODE 128
/* Of PIPE_TEXTURE and PIPE_BIND: constants for a picture of 32-bit pixels. */
#define TARGET_2D 2
#define BIND_RENDER_TARGET (1 << 1)
/* Widths of resources whose shape means nothing: few rows, and no dimension above the limit. */
#define RESOURCE_WIDTH 4096u
#define MAX_RESOURCE_HEIGHT 16384u

G_DEFINE_QUARK(venc - gpu - error - quark, venc_gpu_error)

static gboolean is_virtio_gpu(int drm) {
  drmVersionPtr version = drmGetVersion(drm);
  gboolean is = version && g_strcmp0(version->name, DRIVER) == 0;
  if (version) drmFreeVersion(version);
  return is;
}

int venc_drm_open(const gchar *path, gboolean *refused) {
  int drm = open(path, O_RDWR | O_CLOEXEC);
  if (drm < 0) {
    if (errno == EACCES || errno == EPERM) *refused = TRUE;
    return -errno;
  }
  if (!is_virtio_gpu(drm)) {
    close(drm);
    return -ENODEV;
  }
  return drm;
}

gboolean venc_drm_is_3d(int drm) {
  guint64 value = 0; /* the kernel writes 32 bits of it */
  struct drm_virtgpu_getparam request = {.param = VIRTGPU_PARAM_3D_FEATURES,
                                         .value = (guint64)(guintptr)&value};
  return drmIoctl(drm, DRM_IOCTL_VIRTGPU_GETPARAM, &request) == 0 && (guint32)value != 0;
}

int venc_drm_open_first(const gchar *format, guint number, gchar **node, gboolean *refused) {
  for (guint i = 0; i < DRM_NODES; i++) {
    g_autofree gchar *path = g_strdup_printf(format, number + i);
    int drm = venc_drm_open(path, refused);
    if (drm < 0) continue;
    *node = g_steal_pointer(&path);
    return drm;
  }
  return -ENODEV;
}

/* Render nodes need no rights over the display, so they come first. */
static int kernel_open(gchar **node, gboolean *refused) {
  int drm = venc_drm_open_first("/dev/dri/renderD%u", FIRST_RENDER_NODE, node, refused);
  return drm >= 0 ? drm : venc_drm_open_first("/dev/dri/card%u", 0, node, refused);
}

static int kernel_import(int drm, int dmabuf, guint32 *handle) {
  return drmPrimeFDToHandle(drm, dmabuf, handle) ? -errno : 0;
}

static int kernel_info(int drm, guint32 handle, guint32 *resource, guint64 *size, guint32 *blob) {
  struct drm_virtgpu_resource_info info = {.bo_handle = handle};
  if (drmIoctl(drm, DRM_IOCTL_VIRTGPU_RESOURCE_INFO, &info)) return -errno;
  *resource = info.res_handle;
  *size = info.size;
  /* The header names this field as it was before blobs. */
  *blob = ((const guint32 *)&info)[3];
  return 0;
}

static int kernel_create(int drm, guint32 width, guint32 height, guint64 size, guint32 *handle) {
  struct drm_virtgpu_resource_create create = {
      .target = TARGET_2D,
      .format = VSOCKENC_VIRTIO_BGRx,
      .bind = BIND_RENDER_TARGET,
      .width = width,
      .height = height,
      .depth = 1,
      .array_size = 1,
      .size = (guint32)size,
      .stride = width * 4,
  };
  if (drmIoctl(drm, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE, &create)) return -errno;
  *handle = create.bo_handle;
  return 0;
}

static int kernel_export(int drm, guint32 handle) {
  int fd = -1;
  return drmPrimeHandleToFD(drm, handle, DRM_CLOEXEC | DRM_RDWR, &fd) ? -errno : fd;
}

static int kernel_close_handle(int drm, guint32 handle) {
  struct drm_gem_close request = {.handle = handle};
  return drmIoctl(drm, DRM_IOCTL_GEM_CLOSE, &request) ? -errno : 0;
}

const VencGpuOps venc_gpu_kernel = {
    .open = kernel_open,
    .import = kernel_import,
    .info = kernel_info,
    .create = kernel_create,
    .export = kernel_export,
    .close_handle = kernel_close_handle,
    .is_3d = venc_drm_is_3d,
};

VencGpu *venc_gpu_new(const VencGpuOps *ops, GError **error) {
  gboolean refused = FALSE;
  gchar *node = NULL;
  int fd = ops->open(&node, &refused);
  if (fd < 0) {
    if (refused)
      g_set_error_literal(error, VENC_GPU_ERROR, VENC_GPU_ERROR_DENIED,
                          "no virtio-gpu among the nodes of /dev/dri that this user may open. Add "
                          "the user to the group \"render\" (or \"video\"), and log in again");
    else
      g_set_error_literal(error, VENC_GPU_ERROR, VENC_GPU_ERROR_NONE,
                          "this machine has no virtio-gpu (no node of the driver virtio_gpu in "
                          "/dev/dri). Give the virtual machine one, such as QEMU's "
                          "vhost-user-gpu-pci with `vsockenc gpu` behind it");
    return NULL;
  }
  VencGpu *gpu = g_new0(VencGpu, 1);
  gpu->references = 1;
  gpu->ops = ops;
  gpu->fd = fd;
  gpu->node = node;
  gpu->is_3d = ops->is_3d(fd);
  return gpu;
}

VencGpu *venc_gpu_ref(VencGpu *gpu) {
  g_atomic_int_inc(&gpu->references);
  return gpu;
}

void venc_gpu_unref(VencGpu *gpu) {
  if (!gpu || !g_atomic_int_dec_and_test(&gpu->references)) return;
  close(gpu->fd);
  g_free(gpu->node);
  g_free(gpu);
}

gboolean venc_gpu_lookup(VencGpu *gpu, int dmabuf, VencGpuObject *object, GError **error) {
  guint32 blob = 0;
  int result = gpu->ops->import(gpu->fd, dmabuf, &object->handle);
  if (result < 0) {
    g_set_error(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FOREIGN,
                "the DmaBuf is not of the virtio-gpu %s (%s)", gpu->node, g_strerror(-result));
    return FALSE;
  }
  result = gpu->ops->info(gpu->fd, object->handle, &object->resource, &object->size, &blob);
  object->host_memory = blob == VENC_BLOB_HOST3D || blob == VENC_BLOB_HOST3D_GUEST;
  /* Newer kernels import DmaBufs of other devices as blobs of guest memory. */
  if (result == 0 && (blob == 0 || object->host_memory) && object->resource != 0) return TRUE;
  gpu->ops->close_handle(gpu->fd, object->handle);
  if (result < 0)
    g_set_error(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED,
                "%s does not report the resource of a DmaBuf: %s", gpu->node, g_strerror(-result));
  else
    g_set_error(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FOREIGN,
                "the DmaBuf's memory is not the virtio-gpu's (%s)", gpu->node);
  return FALSE;
}

void venc_gpu_close(VencGpu *gpu, const VencGpuObject *object) {
  gpu->ops->close_handle(gpu->fd, object->handle);
}

int venc_gpu_create_dmabuf(VencGpu *gpu, gsize size, GError **error) {
  gsize row = RESOURCE_WIDTH * 4;
  gsize height = (size + row - 1) / row;
  guint32 handle;
  if (size == 0 || height > MAX_RESOURCE_HEIGHT) {
    g_set_error(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED, "no resource can have %zu bytes",
                size);
    return -1;
  }
  int result = gpu->ops->create(gpu->fd, RESOURCE_WIDTH, (guint32)height, row * height, &handle);
  if (result == 0) {
    result = gpu->ops->export(gpu->fd, handle);
    /* The dma-buf keeps the resource; the handle would only have to be closed at the right time. */
    gpu->ops->close_handle(gpu->fd, handle);
  }
  if (result >= 0) return result;
  g_set_error(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED, "%s gives no resource of %zu bytes: %s",
              gpu->node, size, g_strerror(-result));
  return -1;
}

#define VENC_TYPE_ALLOCATOR (venc_allocator_get_type())
G_DECLARE_FINAL_TYPE(VencAllocator, venc_allocator, VENC, ALLOCATOR, GstDmaBufAllocator)
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
    GST_ERROR_OBJECT(self, "a resource of %s cannot be mapped", self->gpu->node);
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

gboolean venc_allocator_made(const GstMemory *memory) {
  return G_TYPE_CHECK_INSTANCE_TYPE(memory->allocator, VENC_TYPE_ALLOCATOR);
}
