/*
 * Draws the pattern in any pixel format: the orders of RGB directly, YUV by GStreamer's converter,
 * from a picture in ordinary memory.
 */
#ifndef TEST_CANVAS_H
#define TEST_CANVAS_H

#include <gst/video/video.h>

typedef struct _Canvas Canvas;

/* NULL: the pattern cannot be drawn in this format. */
Canvas *canvas_new(const GstVideoInfo *info);
void canvas_free(Canvas *canvas);
/* Draws frame `number` where `before` is, or -1, into the planes with the strides of the info. */
void canvas_draw(Canvas *canvas, guint8 *const *planes, guint number, gint64 before);

#endif
