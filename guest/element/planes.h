/*
 * The planes of a picture: where those of a GstBuffer are, and their pixels as the CPU reads them.
 *
 * One dma-buf may hold all planes, or each plane have its own. Pixels go over the link when no
 * resource holds them: plane after plane, row after row, without padding. They are read in place,
 * piece by piece, so a picture is never copied as a whole.
 */
#ifndef VSOCKENC_PLANES_H
#define VSOCKENC_PLANES_H

#include <gst/video/video.h>

#include "session.h"

/* Formats of proto/formats.ts; UNKNOWN and 0 stand for any other. */
GstVideoFormat venc_format_of(guint32 fourcc);
guint32 venc_fourcc_of(GstVideoFormat format);

typedef struct {
  GstMemory *memory;
  int fd;
  gint64 inode;
  guint64 offset; /* in the descriptor's bytes */
  guint32 stride;
} VencPlaneMemory;

/* TRUE if every memory of `buffer` is a dma-buf, so that venc_planes_find() may succeed. */
gboolean venc_planes_are_dmabufs(GstBuffer *buffer);
/* Fills MAX_PLANES `memories`; errors are of VENC_GPU_ERROR. */
gboolean venc_planes_find(GstBuffer *buffer, const GstVideoInfo *info, VencPlaneMemory *memories,
                          GError **error);
/* Checks that plane `i` of `info` lies within `size` bytes. */
gboolean venc_planes_fit(const GstVideoInfo *info, guint i, const vsockenc_Plane *plane,
                         guint64 size, GError **error);
/*
 * Waits until all writers of the buffer's dma-bufs have finished: VENC_FAILED after `timeout_ms`,
 * VENC_INTERRUPTED as soon as the session is.
 */
VencResult venc_planes_wait_idle(GstBuffer *buffer, VencSession *session, gint timeout_ms);

struct _VencPixels {
  guint n_planes;
  struct {
    const guint8 *data;
    gsize stride;    /* bytes from row to row where they are */
    gsize row_bytes; /* bytes of a row without padding */
    gsize rows;
  } planes[VSOCKENC_MAX_PLANES];
};

/* The planes of a mapped frame, which has to stay mapped. */
void venc_pixels_from_frame(VencPixels *pixels, const GstVideoFrame *frame);
/* Bytes without padding. */
guint64 venc_pixels_size(const VencPixels *pixels);
/* Copies `size` bytes from `offset` on; both are within venc_pixels_size(). */
void venc_pixels_read(const VencPixels *pixels, guint64 offset, guint8 *to, gsize size);
/* CRC-32 (IEEE 802.3) of all of them, as in Probed. */
guint32 venc_pixels_crc(const VencPixels *pixels);
/* Makes the planes of `layout` those of an inline buffer. */
void venc_pixels_layout(const VencPixels *pixels, VencLayout *layout);

#endif
