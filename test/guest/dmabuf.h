/*
 * DmaBufs as made by a producer: dumb buffers of the card node, or resources of the render node,
 * exported by PRIME; and plain memory, as a dma-buf (udmabuf) or without a descriptor (system).
 * Independent of the element's code, so that each tests the other.
 */
#ifndef TEST_DMABUF_H
#define TEST_DMABUF_H

#include <glib.h>

typedef struct {
  int fd;
  gsize size;
  guint stride;
  guint8 *pixels;
} DmaBuf;

/* Opens the device for `allocator` ("dumb", "resource", "udmabuf" or "system"); -1: failed. */
int dmabuf_open_device(const gchar *allocator, GError **error);
gboolean dmabuf_create(int device, const gchar *allocator, guint width, guint height,
                       DmaBuf *buffer, GError **error);
void dmabuf_destroy(DmaBuf *buffer);
/* Call these before and after drawing. */
void dmabuf_begin_write(const DmaBuf *buffer);
void dmabuf_end_write(const DmaBuf *buffer);

#endif
