#include "places.h"

#include <errno.h>
#include <gst/allocators/allocators.h>
#include <sys/stat.h>

#include "virtgpu.h"

gboolean venc_places_find(GstBuffer *buffer, const GstVideoInfo *info, VencPlace *places,
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
    places[i].memory = memory;
    places[i].fd = gst_dmabuf_memory_get_fd(memory);
    places[i].offset = memory->offset + skip;
    places[i].stride = (guint32)stride;
    if (places[i].fd < 0 || fstat(places[i].fd, &status) != 0) {
      g_set_error(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED, "plane %u has no descriptor: %s", i,
                  g_strerror(errno));
      return FALSE;
    }
    places[i].inode = (gint64)status.st_ino;
  }
  return TRUE;
}

gboolean venc_places_are_dmabufs(GstBuffer *buffer) {
  guint n = gst_buffer_n_memory(buffer);
  for (guint i = 0; i < n; i++)
    if (!gst_is_dmabuf_memory(gst_buffer_peek_memory(buffer, i))) return FALSE;
  return n > 0;
}

gboolean venc_places_fit(const GstVideoInfo *info, guint i, const VencPlane *plane, guint64 size,
                         GError **error) {
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

VencResult venc_places_wait_idle(GstBuffer *buffer, VencSession *session, gint timeout_ms) {
  gint64 deadline = g_get_monotonic_time() + timeout_ms * G_TIME_SPAN_MILLISECOND;
  VencResult result = VENC_OK;
  for (guint i = 0; i < gst_buffer_n_memory(buffer) && result == VENC_OK; i++) {
    GstMemory *memory = gst_buffer_peek_memory(buffer, i);
    if (gst_is_dmabuf_memory(memory))
      result = venc_session_wait_readable(session, gst_dmabuf_memory_get_fd(memory), deadline);
  }
  return result;
}
