/*
 * The buffers that the host knows: which number stands for which dma-bufs in which layout.
 *
 * Theory of operation: dma-bufs are recognised by their inode, of which the table keeps a
 * descriptor, so it cannot come to mean another buffer. What has been seen once costs a frame one
 * fstat(), and no ioctl. The table holds a GEM handle of everything it has given a number, so an
 * honest host never finds the resource gone. Numbers are used again, least recently used first, but
 * never while a frame with them is with the host. A buffer whose GstMemory has died is forgotten a
 * moment later: not at once, because some producers wrap the same dma-buf in a new GstMemory every
 * frame.
 */
#ifndef VSOCKENC_BUFFERS_H
#define VSOCKENC_BUFFERS_H

#include <gst/video/video.h>

#include "session.h"
#include "virtgpu.h"

typedef struct _VencBuffers VencBuffers;

VencBuffers *venc_buffers_new(VencGpu *gpu, VencSession *session);
/* Detaches everything; buffers in flight are let go when their frames are. */
void venc_buffers_free(VencBuffers *buffers);

/* TRUE if every plane of `buffer` is in a dma-buf, so that venc_buffers_use() is worth a try. */
gboolean venc_buffers_is_dmabuf(GstBuffer *buffer);

/*
 * Fills slot, attachment, layout, hold and release of `frame`. Takes its own reference to `buffer`,
 * which `hold` keeps. Errors are of VENC_GPU_ERROR.
 */
gboolean venc_buffers_use(VencBuffers *buffers, GstBuffer *buffer, const GstVideoInfo *info,
                          guint32 fourcc, VencFrame *frame, GError **error);

/* Waits until nobody else writes to the buffer's dma-bufs; FALSE after `timeout_ms`. */
gboolean venc_buffers_wait_idle(GstBuffer *buffer, gint timeout_ms);

/* Forgets every buffer, as at the end of a stream. */
void venc_buffers_clear(VencBuffers *buffers);

#endif
