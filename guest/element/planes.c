#include "planes.h"

#include <errno.h>
#include <gst/allocators/allocators.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "virtgpu.h"
#include "vsockenc-formats.h"

static const struct {
  GstVideoFormat format;
  guint32 fourcc;
} FORMATS[] = {
#define FORMAT(gst, drm, ...) {GST_VIDEO_FORMAT_##gst, drm},
    VSOCKENC_PIXEL_FORMATS(FORMAT)
#undef FORMAT
};

GstVideoFormat venc_format_of(guint32 fourcc) {
  for (guint i = 0; i < G_N_ELEMENTS(FORMATS); i++)
    if (FORMATS[i].fourcc == fourcc) return FORMATS[i].format;
  return GST_VIDEO_FORMAT_UNKNOWN;
}

guint32 venc_fourcc_of(GstVideoFormat format) {
  for (guint i = 0; i < G_N_ELEMENTS(FORMATS); i++)
    if (FORMATS[i].format == format) return FORMATS[i].fourcc;
  return 0;
}

gboolean venc_planes_find(GstBuffer *buffer, const GstVideoInfo *info, VencPlaneMemory *memories,
                          GError **error) {
  const GstVideoMeta *meta = gst_buffer_get_video_meta(buffer);
  guint n_planes = meta ? meta->n_planes : GST_VIDEO_INFO_N_PLANES(info);

  if (n_planes != GST_VIDEO_INFO_N_PLANES(info) || n_planes > VSOCKENC_MAX_PLANES) {
    g_set_error(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED, "a buffer of %u planes", n_planes);
    return FALSE;
  }
  for (guint i = 0; i < n_planes; i++) {
    gsize offset = meta ? meta->offset[i] : GST_VIDEO_INFO_PLANE_OFFSET(info, i);
    gint stride = meta ? meta->stride[i] : GST_VIDEO_INFO_PLANE_STRIDE(info, i);
    guint index, length;
    gsize skip;
    struct stat status;

    if (stride <= 0 || !gst_buffer_find_memory(buffer, offset, 1, &index, &length, &skip)) {
      g_set_error(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED,
                  "plane %u (offset %zu, stride %d) is not in the buffer's memory", i, offset,
                  stride);
      return FALSE;
    }
    GstMemory *memory = gst_buffer_peek_memory(buffer, index);
    memories[i].memory = memory;
    memories[i].fd = gst_dmabuf_memory_get_fd(memory);
    memories[i].offset = memory->offset + skip;
    memories[i].stride = (guint32)stride;
    if (memories[i].fd < 0 || fstat(memories[i].fd, &status) != 0) {
      g_set_error(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED, "plane %u has no descriptor: %s", i,
                  g_strerror(errno));
      return FALSE;
    }
    memories[i].inode = (gint64)status.st_ino;
  }
  return TRUE;
}

gboolean venc_planes_are_dmabufs(GstBuffer *buffer) {
  guint n = gst_buffer_n_memory(buffer);
  for (guint i = 0; i < n; i++)
    if (!gst_is_dmabuf_memory(gst_buffer_peek_memory(buffer, i))) return FALSE;
  return n > 0;
}

gboolean venc_planes_fit(const GstVideoInfo *info, guint i, const vsockenc_Plane *plane,
                         guint64 size, GError **error) {
  guint64 rows = (guint64)GST_VIDEO_INFO_COMP_HEIGHT(info, i);
  guint64 row =
      (guint64)GST_VIDEO_INFO_COMP_WIDTH(info, i) * (guint64)GST_VIDEO_INFO_COMP_PSTRIDE(info, i);
  if (plane->stride >= row && plane->offset <= size &&
      (rows - 1) * plane->stride + row <= size - plane->offset)
    return TRUE;
  g_set_error(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED,
              "plane %u (offset %" G_GUINT64_FORMAT ", stride %u, %" G_GUINT64_FORMAT
              " rows) does not lie inside its DmaBuf of %" G_GUINT64_FORMAT " bytes",
              i, plane->offset, plane->stride, rows, size);
  return FALSE;
}

VencResult venc_planes_wait_idle(GstBuffer *buffer, VencSession *session, gint timeout_ms) {
  gint64 deadline = g_get_monotonic_time() + timeout_ms * G_TIME_SPAN_MILLISECOND;
  VencResult result = VENC_OK;
  for (guint i = 0; i < gst_buffer_n_memory(buffer) && result == VENC_OK; i++) {
    GstMemory *memory = gst_buffer_peek_memory(buffer, i);
    if (gst_is_dmabuf_memory(memory))
      result = venc_session_wait_readable(session, gst_dmabuf_memory_get_fd(memory), deadline);
  }
  return result;
}

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

void venc_pixels_layout(const VencPixels *pixels, VencLayout *layout) {
  guint64 offset = 0;
  layout->n_planes = pixels->n_planes;
  for (guint i = 0; i < pixels->n_planes; i++) {
    layout->planes[i] = (vsockenc_Plane){
        .resource = 0, .offset = offset, .stride = (guint32)pixels->planes[i].row_bytes};
    offset += (guint64)pixels->planes[i].row_bytes * pixels->planes[i].rows;
  }
}
