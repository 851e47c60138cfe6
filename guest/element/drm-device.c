#include "drm-device.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <virtgpu_drm.h>
#include <xf86drm.h>

#define DRIVER "virtio_gpu"

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
