/* The kernel's side of kms.h, through libdrm. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <virtgpu_drm.h>
#include <xf86drm.h>
#include <xf86drmMode.h>

#include "kms.h"
#include "virtgpu.h"

#ifndef DRM_CLIENT_CAP_CURSOR_PLANE_HOTSPOT /* Linux 6.8 */
#define DRM_CLIENT_CAP_CURSOR_PLANE_HOTSPOT 6
#endif

G_DEFINE_AUTOPTR_CLEANUP_FUNC(drmModeConnector, drmModeFreeConnector)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(drmModeObjectProperties, drmModeFreeObjectProperties)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(drmModeRes, drmModeFreeResources)

static int kernel_open(const gchar *device, gchar **node, gboolean *refused, gboolean *opaque) {
  int fd = device ? venc_drm_open(device, refused)
                  : venc_drm_open_first("/dev/dri/card%u", 0, node, refused);
  if (fd < 0) return fd;
  if (device) *node = g_strdup(device);
  /* The first program to open a card becomes DRM master, and no compositor could start. */
  drmDropMaster(fd);
  /* All planes, with the properties of atomic commits, and the cursor's of a virtual machine. */
  drmSetClientCap(fd, DRM_CLIENT_CAP_UNIVERSAL_PLANES, 1);
  if (drmSetClientCap(fd, DRM_CLIENT_CAP_ATOMIC, 1) != 0) {
    close(fd);
    g_clear_pointer(node, g_free);
    return -EOPNOTSUPP;
  }
  drmSetClientCap(fd, DRM_CLIENT_CAP_CURSOR_PLANE_HOTSPOT, 1);
  *opaque = venc_drm_is_3d(fd);
  return fd;
}

static const gchar *const property_names[VENC_KMS_PROPERTIES] = {
    [VENC_KMS_FB_ID] = "FB_ID",   [VENC_KMS_CRTC_X] = "CRTC_X",
    [VENC_KMS_CRTC_Y] = "CRTC_Y", [VENC_KMS_SRC_X] = "SRC_X",
    [VENC_KMS_SRC_Y] = "SRC_Y",   [VENC_KMS_SRC_W] = "SRC_W",
    [VENC_KMS_SRC_H] = "SRC_H",   [VENC_KMS_FB_DAMAGE_CLIPS] = "FB_DAMAGE_CLIPS",
    [VENC_KMS_ACTIVE] = "ACTIVE",
};

/* Finds the ids of an object's properties. `kind`: the value of its property "type", if any. */
static int find_properties(int drm, guint32 id, guint32 type, guint32 *ids, guint64 *kind) {
  g_autoptr(drmModeObjectProperties) properties = drmModeObjectGetProperties(drm, id, type);
  if (!properties) return -errno;
  for (guint i = 0; i < properties->count_props; i++) {
    drmModePropertyPtr property = drmModeGetProperty(drm, properties->props[i]);
    if (!property) continue;
    for (guint k = 0; k < VENC_KMS_PROPERTIES; k++)
      if (g_strcmp0(property->name, property_names[k]) == 0) ids[k] = property->prop_id;
    if (kind && g_strcmp0(property->name, "type") == 0) *kind = properties->prop_values[i];
    drmModeFreeProperty(property);
  }
  return 0;
}

/* The values of an object's properties, in the order of VencKmsProperty; 0 for those it lacks. */
static int read_properties(int drm, const VencKmsOutput *output, guint32 id, guint32 type,
                           guint64 *values) {
  g_autoptr(drmModeObjectProperties) properties = drmModeObjectGetProperties(drm, id, type);
  if (!properties) return errno ? -errno : -ENODEV;
  memset(values, 0, VENC_KMS_PROPERTIES * sizeof *values);
  for (guint i = 0; i < properties->count_props; i++)
    for (guint k = 0; k < VENC_KMS_PROPERTIES; k++)
      if (properties->props[i] == output->properties[k]) values[k] = properties->prop_values[i];
  return 0;
}

static int find_planes(int drm, guint crtc_index, VencKmsOutput *output) {
  drmModePlaneResPtr planes = drmModeGetPlaneResources(drm);
  if (!planes) return -errno;
  for (guint i = 0; i < planes->count_planes; i++) {
    guint64 kind = DRM_PLANE_TYPE_OVERLAY;
    drmModePlanePtr plane = drmModeGetPlane(drm, planes->planes[i]);
    if (!plane) continue;
    if (plane->possible_crtcs & (1u << crtc_index)) {
      find_properties(drm, plane->plane_id, DRM_MODE_OBJECT_PLANE, output->properties, &kind);
      if (kind == DRM_PLANE_TYPE_PRIMARY) output->primary = plane->plane_id;
      if (kind == DRM_PLANE_TYPE_CURSOR) output->cursor = plane->plane_id;
    }
    drmModeFreePlane(plane);
  }
  drmModeFreePlaneResources(planes);
  return output->primary ? 0 : -ENODEV;
}

/* The one CRTC of a connector, as its index. */
static int find_crtc(int drm, drmModeResPtr resources, drmModeConnectorPtr connector,
                     guint *index) {
  if (connector->count_encoders < 1) return -ENODEV;
  drmModeEncoderPtr encoder = drmModeGetEncoder(drm, connector->encoders[0]);
  if (!encoder) return -errno;
  guint possible = encoder->possible_crtcs;
  drmModeFreeEncoder(encoder);
  for (guint i = 0; i < (guint)resources->count_crtcs; i++) {
    if (!(possible & (1u << i))) continue;
    *index = i;
    return 0;
  }
  return -ENODEV;
}

static int kernel_output(int drm, guint index, VencKmsOutput *output, gboolean *connected) {
  guint crtc_index = 0;
  g_autoptr(drmModeRes) resources = drmModeGetResources(drm);
  if (!resources) return -errno;
  if (index >= (guint)resources->count_connectors) return -ENOENT;
  g_autoptr(drmModeConnector) connector =
      drmModeGetConnectorCurrent(drm, resources->connectors[index]);
  if (!connector) return -errno;
  int result = find_crtc(drm, resources, connector, &crtc_index);
  if (result < 0) return result;
  const gchar *type = drmModeGetConnectorTypeName(connector->connector_type);
  *output = (VencKmsOutput){.crtc = resources->crtcs[crtc_index]};
  g_snprintf(output->connector, sizeof output->connector, "%s-%u", type ? type : "Unknown",
             connector->connector_type_id);
  *connected = connector->connection == DRM_MODE_CONNECTED;
  find_properties(drm, output->crtc, DRM_MODE_OBJECT_CRTC, output->properties, NULL);
  return find_planes(drm, crtc_index, output);
}

static int kernel_active(int drm, const VencKmsOutput *output, gboolean *active) {
  guint64 values[VENC_KMS_PROPERTIES];
  int result = read_properties(drm, output, output->crtc, DRM_MODE_OBJECT_CRTC, values);
  if (result == 0) *active = values[VENC_KMS_ACTIVE] != 0;
  return result;
}

static int kernel_plane(int drm, const VencKmsOutput *output, guint32 id, VencKmsPlane *plane) {
  guint64 values[VENC_KMS_PROPERTIES];
  int result = read_properties(drm, output, id, DRM_MODE_OBJECT_PLANE, values);
  if (result < 0) return result;
  /* Positions are signed numbers in 64 bits, parts of the source are 16.16 fixed point. */
  *plane = (VencKmsPlane){
      .framebuffer = (guint32)values[VENC_KMS_FB_ID],
      .x = (gint32)values[VENC_KMS_CRTC_X],
      .y = (gint32)values[VENC_KMS_CRTC_Y],
      .source_x = (guint32)values[VENC_KMS_SRC_X] >> 16,
      .source_y = (guint32)values[VENC_KMS_SRC_Y] >> 16,
      .width = (guint32)values[VENC_KMS_SRC_W] >> 16,
      .height = (guint32)values[VENC_KMS_SRC_H] >> 16,
      .damage = (guint32)values[VENC_KMS_FB_DAMAGE_CLIPS],
  };
  return 0;
}

static int kernel_framebuffer(int drm, guint32 id, VencKmsFramebuffer *framebuffer) {
  drmModeFB2Ptr fb = drmModeGetFB2(drm, id);
  if (!fb) return -errno;
  *framebuffer = (VencKmsFramebuffer){
      .width = fb->width,
      .height = fb->height,
      .fourcc = fb->pixel_format,
      .modifier = fb->flags & DRM_MODE_FB_MODIFIERS ? fb->modifier : 0,
      .handle = fb->handles[0],
      .pitch = fb->pitches[0],
      .offset = fb->offsets[0],
  };
  for (guint i = 0; i < G_N_ELEMENTS(fb->handles); i++) {
    if (fb->pitches[i]) framebuffer->planes++;
    /* Planes in one buffer share a handle; another is a buffer of its own. */
    gboolean again = FALSE;
    for (guint k = 0; k < i; k++) again = again || fb->handles[k] == fb->handles[i];
    if (i > 0 && fb->handles[i] && !again) drmCloseBufferHandle(drm, fb->handles[i]);
  }
  drmModeFreeFB2(fb);
  return 0;
}

static int kernel_resource(int drm, guint32 handle, guint32 *resource, guint64 *size) {
  struct drm_virtgpu_resource_info info = {.bo_handle = handle};
  if (drmIoctl(drm, DRM_IOCTL_VIRTGPU_RESOURCE_INFO, &info)) return -errno;
  *resource = info.res_handle;
  *size = info.size;
  return 0;
}

static int kernel_export(int drm, guint32 handle) {
  int fd = -1;
  return drmPrimeHandleToFD(drm, handle, DRM_CLOEXEC, &fd) ? -errno : fd;
}

static int kernel_close_handle(int drm, guint32 handle) {
  return drmCloseBufferHandle(drm, handle) ? -errno : 0;
}

const VencKmsOps venc_kms_kernel = {
    .open = kernel_open,
    .output = kernel_output,
    .active = kernel_active,
    .plane = kernel_plane,
    .framebuffer = kernel_framebuffer,
    .resource = kernel_resource,
    .export = kernel_export,
    .close_handle = kernel_close_handle,
};
