/*
 * DmaBufs as a producer would make them: dumb buffers of the card node, or resources of the render
 * node, exported by PRIME; and plain memory, which no device has, as a dma-buf (udmabuf) or as it
 * is (system, without a descriptor). Not the element's code,
 * so that one checks the other.
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

/* `allocator` is "dumb", "resource", "udmabuf" or "system". The descriptor of the device for it, or
 * -1. */
int dmabuf_open_device(const gchar *allocator, GError **error);
gboolean dmabuf_create(int device, const gchar *allocator, guint width, guint height,
                       DmaBuf *buffer, GError **error);
void dmabuf_destroy(DmaBuf *buffer);
/* To be called around drawing. */
void dmabuf_begin_write(const DmaBuf *buffer);
void dmabuf_end_write(const DmaBuf *buffer);

#endif
