/*
 * Pixels as they go over the link when no resource holds them: plane after plane, row after row,
 * without padding. They are read where they are, piece by piece, so a picture is never copied as a
 * whole.
 */
#ifndef VSOCKENC_PIXELS_H
#define VSOCKENC_PIXELS_H

#include <gst/video/video.h>

#include "session.h"

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
/* CRC-32 (IEEE 802.3) of all of them: what Probed says. */
guint32 venc_pixels_crc(const VencPixels *pixels);
/* Makes the planes of `layout` those of an inline buffer. */
void venc_pixels_place(const VencPixels *pixels, VencLayout *layout);

#endif
