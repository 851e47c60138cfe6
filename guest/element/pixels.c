#include "pixels.h"

#include <string.h>
#include <zlib.h>

void venc_pixels_from_frame(VencPixels *pixels, const GstVideoFrame *frame) {
  const GstVideoInfo *info = &frame->info;
  /* In each format of proto/formats.ts the component of a plane's number lies in that plane. */
  pixels->n_planes = MIN(GST_VIDEO_FRAME_N_PLANES(frame), VSOCKENC_MAX_PLANES);
  for (guint i = 0; i < pixels->n_planes; i++) {
    pixels->planes[i].data = GST_VIDEO_FRAME_PLANE_DATA(frame, i);
    pixels->planes[i].stride = (gsize)GST_VIDEO_FRAME_PLANE_STRIDE(frame, i);
    pixels->planes[i].row_bytes =
        (gsize)GST_VIDEO_INFO_COMP_WIDTH(info, i) * (gsize)GST_VIDEO_INFO_COMP_PSTRIDE(info, i);
    pixels->planes[i].rows = (gsize)GST_VIDEO_INFO_COMP_HEIGHT(info, i);
  }
}

guint64 venc_pixels_size(const VencPixels *pixels) {
  guint64 size = 0;
  for (guint i = 0; i < pixels->n_planes; i++)
    size += (guint64)pixels->planes[i].row_bytes * pixels->planes[i].rows;
  return size;
}

void venc_pixels_read(const VencPixels *pixels, guint64 offset, guint8 *to, gsize size) {
  for (guint i = 0; i < pixels->n_planes && size > 0; i++) {
    gsize row_bytes = pixels->planes[i].row_bytes;
    guint64 bytes = (guint64)row_bytes * pixels->planes[i].rows;
    if (offset >= bytes) {
      offset -= bytes;
      continue;
    }
    gsize row = (gsize)(offset / row_bytes), column = (gsize)(offset % row_bytes);
    for (; row < pixels->planes[i].rows && size > 0; row++, column = 0) {
      gsize n = MIN(row_bytes - column, size);
      memcpy(to, pixels->planes[i].data + row * pixels->planes[i].stride + column, n);
      to += n;
      size -= n;
    }
    offset = 0;
  }
}

guint32 venc_pixels_crc(const VencPixels *pixels) {
  uLong crc = crc32(0, NULL, 0);
  for (guint i = 0; i < pixels->n_planes; i++)
    for (gsize row = 0; row < pixels->planes[i].rows; row++)
      crc = crc32(crc, pixels->planes[i].data + row * pixels->planes[i].stride,
                  (uInt)pixels->planes[i].row_bytes);
  return (guint32)crc;
}

void venc_pixels_place(const VencPixels *pixels, VencLayout *layout) {
  guint64 offset = 0;
  layout->n_planes = pixels->n_planes;
  for (guint i = 0; i < pixels->n_planes; i++) {
    layout->planes[i] = (VencPlane){
        .resource = 0, .offset = offset, .stride = (guint32)pixels->planes[i].row_bytes};
    offset += (guint64)pixels->planes[i].row_bytes * pixels->planes[i].rows;
  }
}
