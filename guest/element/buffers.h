/*
 * The buffers attached at the host: which slot stands for which dma-bufs in which layout.
 *
 * Theory of operation: the table recognises dma-bufs by their inode, and keeps a descriptor of
 * each, so the inode cannot be reused. A known buffer costs a frame one fstat() and no ioctl. The
 * table also keeps a GEM handle of each, so the resource exists for as long as the host may read
 * it. Slots are reused, least recently used first, but never while the host has a frame in them. A
 * buffer is forgotten a second after its GstMemory was freed: not at once, because some producers
 * wrap the same dma-buf in a new GstMemory for every frame. Pixels outside of the virtio-gpu use
 * slots too, one for each such frame that is held at one time, and are sent with the frames.
 */
#ifndef VSOCKENC_BUFFERS_H
#define VSOCKENC_BUFFERS_H

#include <gst/video/video.h>

#include "session.h"
#include "virtgpu.h"

typedef struct _VencBuffers VencBuffers;

/* Size and format of a buffer's pixels. */
typedef struct {
  GstVideoInfo info;
  guint32 fourcc;
  guint64 modifier;         /* 0: linear */
  vsockenc_Content content; /* of DmaBufs that are not of venc_allocator_new() */
} VencPicture;

/* Without `gpu` there are inline buffers only. */
VencBuffers *venc_buffers_new(VencGpu *gpu, VencSession *session);
/* Detaches everything; buffers in flight are released with their frames. */
void venc_buffers_free(VencBuffers *buffers);

/*
 * Fills slot, attachment, layout, hold, map and release of `frame`. Takes its own reference to
 * `buffer`, which `hold` keeps. Errors are of VENC_GPU_ERROR: NONE and FOREIGN mean that the pixels
 * must be copied or sent inline.
 */
gboolean venc_buffers_use(VencBuffers *buffers, GstBuffer *buffer, const VencPicture *picture,
                          VencFrame *frame, GError **error);

/*
 * The same for pixels that the host cannot read: they go over the link, and must be linear. They
 * stay mapped for as long as `frame` holds them. Even on failure `frame` may hold a reference.
 */
gboolean venc_buffers_use_inline(VencBuffers *buffers, GstBuffer *buffer,
                                 const VencPicture *picture, VencFrame *frame, GError **error);

/* Forgets every buffer, as at the end of a stream. */
void venc_buffers_clear(VencBuffers *buffers);

#endif
