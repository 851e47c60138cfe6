/*
 * Where the planes of a GstBuffer are: which of its memories holds each, and from which byte of the
 * descriptor behind it. One dma-buf may hold all planes, or each plane have its own.
 */
#ifndef VSOCKENC_PLACES_H
#define VSOCKENC_PLACES_H

#include <gst/video/video.h>

#include "session.h"

typedef struct {
  GstMemory *memory;
  int fd;
  gint64 inode;
  guint64 offset; /* in the descriptor's bytes */
  guint32 stride;
} VencPlace;

/* TRUE if every memory of `buffer` is a dma-buf, so that venc_places_find() is worth a try. */
gboolean venc_places_are_dmabufs(GstBuffer *buffer);
/* Fills MAX_PLANES `places`; errors are of VENC_GPU_ERROR. */
gboolean venc_places_find(GstBuffer *buffer, const GstVideoInfo *info, VencPlace *places,
                          GError **error);
/* Checks that plane `i` of `info` lies within `size` bytes. */
gboolean venc_places_fit(const GstVideoInfo *info, guint i, const VencPlane *plane, guint64 size,
                         GError **error);
/*
 * Waits until nobody else writes to the buffer's dma-bufs: VENC_FAILED after `timeout_ms`,
 * VENC_INTERRUPTED as soon as the session is.
 */
VencResult venc_places_wait_idle(GstBuffer *buffer, VencSession *session, gint timeout_ms);

#endif
