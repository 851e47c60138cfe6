/*
 * A picture that the GPU draws, for vsockenc-probe: into a buffer of GBM, by OpenGL ES. libgbm and
 * libEGL are loaded at run time, so that the probe also runs in guests without Mesa.
 */
#ifndef VSOCKENC_GL_PICTURE_H
#define VSOCKENC_GL_PICTURE_H

#include <glib.h>

#define VENC_GL_FOURCC 0x34325241u /* DRM_FORMAT_ARGB8888: every byte of a pixel is drawn */

typedef struct {
  int fd; /* its dma-buf, which alone keeps it; the caller's */
  guint32 stride, offset;
  guint64 modifier; /* 0: linear, or unknown, as virgl's are */
  guint32 crc;      /* of its pixels, as in Probed; known without reading them back */
} VencGlPicture;

/* Draws on the render node `node`. FALSE: this guest cannot; `error` is of VENC_GPU_ERROR. */
gboolean venc_gl_draw(const gchar *node, guint width, guint height, VencGlPicture *picture,
                      GError **error);

#endif
