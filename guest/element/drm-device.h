/* The nodes of the virtio-gpu in /dev/dri, which both elements open. */
#ifndef VSOCKENC_DRM_DEVICE_H
#define VSOCKENC_DRM_DEVICE_H

#include <glib.h>

/* Nodes of a kind that the kernel numbers at the most (DRM_MINOR_*, 64 apart). */
#define VENC_DRM_NODES 64u

/*
 * A descriptor of the node, or -errno; -ENODEV if it is not of the driver virtio_gpu: the first
 * node may be another device's. `refused` is set where only a permission is missing.
 */
int venc_drm_open(const gchar *path, gboolean *refused);
/* Whether the host renders for it (virgl, Venus). */
gboolean venc_drm_is_3d(int drm);

#endif
