#define _GNU_SOURCE
#include "dmabuf.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/udmabuf.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <virtgpu_drm.h>
#include <xf86drm.h>
#include <xf86drmMode.h>

#include "vsockenc-formats.h"

#define NODES 16
#define TARGET_2D 2

static gboolean fail(GError **error, const gchar *what) {
  int reason = errno;
  g_set_error(error, G_FILE_ERROR, (gint)g_file_error_from_errno(reason), "%s: %s", what,
              g_strerror(reason));
  return FALSE;
}

int dmabuf_open_device(const gchar *allocator, GError **error) {
  gboolean dumb = g_strcmp0(allocator, "dumb") == 0;
  if (g_strcmp0(allocator, "system") == 0) return open("/dev/null", O_RDWR | O_CLOEXEC);
  if (g_strcmp0(allocator, "udmabuf") == 0) {
    int fd = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
    if (fd < 0) fail(error, "/dev/udmabuf");
    return fd;
  }
  for (guint i = 0; i < NODES; i++) {
    g_autofree gchar *path = dumb ? g_strdup_printf("/dev/dri/card%u", i)
                                  : g_strdup_printf("/dev/dri/renderD%u", 128 + i);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    drmVersionPtr version = fd >= 0 ? drmGetVersion(fd) : NULL;
    gboolean found = version && g_strcmp0(version->name, "virtio_gpu") == 0;
    drmFreeVersion(version);
    if (found) return fd;
    if (fd >= 0) close(fd);
  }
  g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NODEV, "cannot open a virtio-gpu");
  return -1;
}

static gboolean create_dumb(int device, guint width, guint height, guint32 *handle, DmaBuf *buffer,
                            GError **error) {
  guint64 size;
  if (drmModeCreateDumbBuffer(device, width, height, 32, 0, handle, &buffer->stride, &size))
    return fail(error, "CREATE_DUMB");
  buffer->size = size;
  return TRUE;
}

static gboolean create_resource(int device, guint width, guint height, guint32 *handle,
                                DmaBuf *buffer, GError **error) {
  struct drm_virtgpu_resource_create create = {.target = TARGET_2D,
                                               .format = VSOCKENC_VIRTIO_BGRx,
                                               .width = width,
                                               .height = height,
                                               .depth = 1,
                                               .array_size = 1,
                                               .size = width * height * 4,
                                               .stride = width * 4};
  if (drmIoctl(device, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE, &create))
    return fail(error, "RESOURCE_CREATE");
  *handle = create.bo_handle;
  buffer->stride = width * 4;
  buffer->size = (gsize)width * height * 4;
  return TRUE;
}

static gboolean map(DmaBuf *buffer, GError **error) {
  int kind = MAP_SHARED | (buffer->fd < 0 ? MAP_ANONYMOUS : 0);
  buffer->pixels = mmap(NULL, buffer->size, PROT_READ | PROT_WRITE, kind, buffer->fd, 0);
  return buffer->pixels != MAP_FAILED || fail(error, "mmap of a dma-buf");
}

static gboolean create_udmabuf(int device, guint width, guint height, DmaBuf *buffer,
                               GError **error) {
  gsize page = (gsize)sysconf(_SC_PAGESIZE);
  buffer->stride = width * 4;
  buffer->size = ((gsize)buffer->stride * height + page - 1) & ~(page - 1);
  int memory = memfd_create("dmabufsrc", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (memory < 0 || ftruncate(memory, (off_t)buffer->size) != 0 ||
      fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK) != 0)
    return fail(error, "memfd");
  struct udmabuf_create create = {
      .memfd = (guint32)memory, .flags = UDMABUF_FLAGS_CLOEXEC, .size = buffer->size};
  buffer->fd = ioctl(device, UDMABUF_CREATE, &create);
  if (buffer->fd < 0) fail(error, "UDMABUF_CREATE");
  close(memory);
  return buffer->fd >= 0 && map(buffer, error);
}

gboolean dmabuf_create(int device, const gchar *allocator, guint width, guint height,
                       DmaBuf *buffer, GError **error) {
  guint32 handle;
  gboolean dumb = g_strcmp0(allocator, "dumb") == 0;
  buffer->fd = -1;
  if (g_strcmp0(allocator, "system") == 0) {
    buffer->stride = width * 4;
    buffer->size = (gsize)buffer->stride * height;
    return map(buffer, error);
  }
  if (g_strcmp0(allocator, "udmabuf") == 0)
    return create_udmabuf(device, width, height, buffer, error);
  if (!(dumb ? create_dumb : create_resource)(device, width, height, &handle, buffer, error))
    return FALSE;
  int result = drmPrimeHandleToFD(device, handle, DRM_CLOEXEC | DRM_RDWR, &buffer->fd);
  struct drm_gem_close request = {.handle = handle};
  drmIoctl(device, DRM_IOCTL_GEM_CLOSE, &request); /* the dma-buf holds the memory */
  if (result) return fail(error, "PRIME_HANDLE_TO_FD");
  return map(buffer, error);
}

void dmabuf_destroy(DmaBuf *buffer) {
  munmap(buffer->pixels, buffer->size);
  if (buffer->fd >= 0) close(buffer->fd);
  buffer->fd = -1;
}

static void sync_cpu(const DmaBuf *buffer, guint64 flags) {
  struct dma_buf_sync sync = {.flags = flags | DMA_BUF_SYNC_WRITE};
  while (ioctl(buffer->fd, DMA_BUF_IOCTL_SYNC, &sync) != 0 && errno == EINTR) continue;
}

void dmabuf_begin_write(const DmaBuf *buffer) {
  sync_cpu(buffer, DMA_BUF_SYNC_START);
}

void dmabuf_end_write(const DmaBuf *buffer) {
  sync_cpu(buffer, DMA_BUF_SYNC_END);
}
