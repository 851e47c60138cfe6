/*
 * The buffers that the host knows: which number stands for which dma-bufs in which layout.
 *
 * Theory of operation: dma-bufs are recognised by their inode, of which the table keeps a
 * descriptor, so it cannot come to mean another buffer. What has been seen once costs a frame one
 * fstat(), and no ioctl. The table holds a GEM handle of everything it has given a number, so an
 * honest host never finds the resource gone. Numbers are used again, least recently used first, but
 * never while a frame with them is with the host. A buffer whose GstMemory has died is forgotten a
 * moment later: not at once, because some producers wrap the same dma-buf in a new GstMemory every
 * frame. Pixels that are in no dma-buf of the virtio-gpu get numbers too, one for each such frame
 * that is held at one time, and are sent along with the frames.
 */
#ifndef VSOCKENC_BUFFERS_H
#define VSOCKENC_BUFFERS_H

#include <gst/video/video.h>

#include "session.h"
#include "virtgpu.h"

typedef struct _VencBuffers VencBuffers;

/* How the pixels of a buffer are to be read. */
typedef struct {
  GstVideoInfo info;
  guint32 fourcc;
  guint64 modifier; /* 0: linear */
} VencPicture;

/* Without `gpu` there are inline buffers only. */
VencBuffers *venc_buffers_new(VencGpu *gpu, VencSession *session);
/* Detaches everything; buffers in flight are let go when their frames are. */
void venc_buffers_free(VencBuffers *buffers);

/*
 * Fills slot, attachment, layout, hold, map and release of `frame`. Takes its own reference to
 * `buffer`, which `hold` keeps. Errors are of VENC_GPU_ERROR: NONE and FOREIGN mean that the pixels
 * have to take another way.
 */
gboolean venc_buffers_use(VencBuffers *buffers, GstBuffer *buffer, const VencPicture *picture,
                          VencFrame *frame, GError **error);

/*
 * The same for pixels that the host cannot reach: they will go over the link, linear ones only.
 * They stay mapped for as long as `frame` holds them. If it fails `frame` may hold something
 * nevertheless.
 */
gboolean venc_buffers_use_inline(VencBuffers *buffers, GstBuffer *buffer,
                                 const VencPicture *picture, VencFrame *frame, GError **error);

/* Forgets every buffer, as at the end of a stream. */
void venc_buffers_clear(VencBuffers *buffers);

#endif
