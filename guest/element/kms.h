/*
 * The screen of a virtio-gpu: the framebuffer of one output as a dma-buf, and its cursor.
 *
 * Every program may read the id of the framebuffer that a plane shows. Only DRM master and
 * CAP_SYS_ADMIN get its memory (drmModeGetFB2), as a new GEM handle at each call. The handle is
 * closed at once, as the exported dma-buf keeps the memory.
 *
 * The id does not identify the memory: the kernel reuses the lowest free id, so a compositor's new
 * buffers get the ids of its old ones. The virtio-gpu resource of the handle does
 * (DRM_IOCTL_VIRTGPU_RESOURCE_INFO): its id is not reused while the dma-buf is kept here.
 */
#ifndef VSOCKENC_KMS_H
#define VSOCKENC_KMS_H

#include <gst/gst.h>

/* Properties of planes, and one of CRTCs; their ids are the same for all objects of a device. */
typedef enum {
  VENC_KMS_FB_ID,
  VENC_KMS_CRTC_X,
  VENC_KMS_CRTC_Y,
  VENC_KMS_SRC_X,
  VENC_KMS_SRC_Y,
  VENC_KMS_SRC_W,
  VENC_KMS_SRC_H,
  VENC_KMS_FB_DAMAGE_CLIPS,
  VENC_KMS_ACTIVE,
  VENC_KMS_PROPERTIES,
} VencKmsProperty;

/* Ids of one output: constant, because a virtio-gpu's outputs have CRTC and planes of their own. */
typedef struct {
  gchar connector[32]; /* as in "Virtual-1" */
  guint32 crtc;
  guint32 primary;
  guint32 cursor; /* 0: the device has none */
  guint32 properties[VENC_KMS_PROPERTIES];
} VencKmsOutput;

/* The present state of a plane. */
typedef struct {
  guint32 framebuffer; /* 0: it shows nothing */
  gint32 x, y;         /* where on the screen; a cursor may begin left of it */
  guint32 source_x, source_y, width, height; /* the visible part of the framebuffer */
  /* The id of the last commit's damage. Each one has memory of its own, so this differs from one
   * commit to the next, and no flip is needed for that (DRM_IOCTL_MODE_DIRTYFB). */
  guint32 damage;
} VencKmsPlane;

/* Of a framebuffer with one plane. The caller closes `handle`, if it is not 0. */
typedef struct {
  guint32 width, height, fourcc;
  guint64 modifier;
  guint32 planes, handle, pitch, offset;
} VencKmsFramebuffer;

/* The kernel's part, replaced in tests. Each function returns 0 (or a descriptor) or -errno. */
typedef struct {
  /* `device` NULL: the first card of virtio_gpu. `refused`: there was one that may not be opened.
   * `opaque`: the CPU sees nothing of its buffers (3D). */
  int (*open)(const gchar *device, gchar **node, gboolean *refused, gboolean *opaque);
  /* Output `index`; -ENOENT: there are fewer. `connected`: a screen is there. */
  int (*output)(int drm, guint index, VencKmsOutput *output, gboolean *connected);
  int (*active)(int drm, const VencKmsOutput *output, gboolean *active);
  int (*plane)(int drm, const VencKmsOutput *output, guint32 id, VencKmsPlane *plane);
  int (*framebuffer)(int drm, guint32 id, VencKmsFramebuffer *framebuffer);
  int (*resource)(int drm, guint32 handle, guint32 *resource, guint64 *size);
  int (*export)(int drm, guint32 handle);
  int (*close_handle)(int drm, guint32 handle);
} VencKmsOps;

extern const VencKmsOps venc_kms_kernel;

#define VENC_KMS_ERROR (venc_kms_error_quark())
GQuark venc_kms_error_quark(void);

typedef enum {
  VENC_KMS_ERROR_NOT_FOUND, /* no such device or output */
  VENC_KMS_ERROR_DENIED,    /* rights are missing */
  VENC_KMS_ERROR_FAILED,    /* the device did not do it */
  VENC_KMS_ERROR_FORMAT,    /* an unsupported framebuffer */
} VencKmsError;

/* A buffer that is or was shown. Kept while it is and for some seconds after. */
typedef struct {
  guint32 resource;
  guint32 width, height, fourcc, pitch, offset;
  guint64 modifier;
  GstMemory *memory; /* its dma-buf, read-only */
  gint64 seen;       /* monotonic time in µs */
} VencKmsBuffer;

/* The result of one look. The buffers belong to the VencKms, until the next look. */
typedef struct {
  const VencKmsBuffer *screen; /* NULL: the screen is off */
  VencKmsPlane plane;
  const VencKmsBuffer *cursor; /* NULL: none is shown, or it was not asked for */
  VencKmsPlane cursor_plane;
} VencKmsView;

/* Written by kms.c alone. */
typedef struct {
  const VencKmsOps *ops;
  int fd;
  gchar *node;
  gboolean opaque; /* the CPU cannot read the screen's pixels */
  VencKmsOutput output;
  GstAllocator *allocator;
  GQueue buffers; /* of VencKmsBuffer */
} VencKms;

/* `connector` NULL: the first output that shows something, else the first with a screen. */
VencKms *venc_kms_new(const VencKmsOps *ops, const gchar *device, const gchar *connector,
                      GError **error);
void venc_kms_free(VencKms *kms);
/* FALSE: no later look can succeed. A screen that is off is not an error. */
gboolean venc_kms_look(VencKms *kms, gboolean cursor, VencKmsView *view, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VencKms, venc_kms_free)

#endif
