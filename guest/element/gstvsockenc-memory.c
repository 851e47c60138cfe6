/*
 * The memory of frames: pools offered to upstream, and copies of frames in other memory.
 */
#include "gstvsockenc-private.h"
#include "planes.h"

/* Upstream has no use for more buffers than can be attached. */
#define MAX_POOL_BUFFERS VSOCKENC_MAX_ATTACHED_BUFFERS
/* More than can be with the host, waiting and in the making at one time. */
#define MAX_COPIES (2u * VSOCKENC_MAX_IN_FLIGHT_FRAMES)

void gst_vsock_enc_clear_copies(GstVsockEnc *self) {
  if (!self->copies) return;
  gst_buffer_pool_set_active(self->copies, FALSE);
  gst_clear_object(&self->copies);
}

gboolean gst_vsock_enc_propose_allocation(GstVideoEncoder *encoder, GstQuery *query) {
  GstVsockEnc *self = GST_VSOCK_ENC(encoder);
  GstAllocationParams params = {.flags = 0, .align = 15};
  GstCaps *caps = NULL;
  gboolean need_pool = FALSE;
  GstVideoInfo info;

  gst_query_parse_allocation(query, &caps, &need_pool);
  if (!caps) return FALSE;
  gst_query_add_allocation_meta(query, GST_VIDEO_META_API_TYPE, NULL);
  GST_OBJECT_LOCK(self);
  guint buffers = self->settings.max_in_flight + 2;
  GST_OBJECT_UNLOCK(self);
  const GstCapsFeatures *features = gst_caps_get_features(caps, 0);
  if (features && gst_caps_features_contains(features, GST_CAPS_FEATURE_MEMORY_DMABUF)) {
    gst_query_add_allocation_pool(query, NULL, 0, buffers, 0);
    return TRUE;
  }
  if (!gst_video_info_from_caps(&info, caps)) return FALSE;
  if (!self->allocator) {
    /* Upstream makes its own pool, of buffers of this size: videoconvert fails with 0. */
    gst_query_add_allocation_pool(query, NULL, (guint)info.size, buffers, 0);
    return TRUE;
  }
  gst_query_add_allocation_param(query, self->allocator, &params);
  g_autoptr(GstBufferPool) pool = need_pool ? gst_video_buffer_pool_new() : NULL;
  if (pool) {
    GstStructure *config = gst_buffer_pool_get_config(pool);
    gst_buffer_pool_config_set_params(config, caps, (guint)info.size, buffers, MAX_POOL_BUFFERS);
    gst_buffer_pool_config_set_allocator(config, self->allocator, &params);
    gst_buffer_pool_config_add_option(config, GST_BUFFER_POOL_OPTION_VIDEO_META);
    if (!gst_buffer_pool_set_config(pool, config)) return FALSE;
  }
  gst_query_add_allocation_pool(query, pool, (guint)info.size, buffers, MAX_POOL_BUFFERS);
  return TRUE;
}

static GstBufferPool *new_copies(GstVsockEnc *self) {
  g_autoptr(GstBufferPool) pool = gst_video_buffer_pool_new();
  g_autoptr(GstCaps) caps = gst_video_info_to_caps(&self->picture.info);
  GstAllocationParams params = {.flags = 0, .align = 15};
  GstStructure *config = gst_buffer_pool_get_config(pool);
  gst_buffer_pool_config_set_params(config, caps, (guint)self->picture.info.size, 0, MAX_COPIES);
  gst_buffer_pool_config_set_allocator(config, self->allocator, &params);
  gst_buffer_pool_config_add_option(config, GST_BUFFER_POOL_OPTION_VIDEO_META);
  if (!gst_buffer_pool_set_config(pool, config) || !gst_buffer_pool_set_active(pool, TRUE))
    return NULL;
  return g_steal_pointer(&pool);
}

/* A copy of the pixels in memory that the host can read. NULL: `error` is set. */
static GstBuffer *copy_pixels(GstVsockEnc *self, GstBuffer *buffer, GError **error) {
  GstBufferPoolAcquireParams acquire = {.flags = GST_BUFFER_POOL_ACQUIRE_FLAG_DONTWAIT};
  const gchar *problem = NULL;
  GstVideoFrame from, to;
  GstBuffer *copy = NULL;

  if (!self->copies) self->copies = new_copies(self);
  if (!self->copies ||
      gst_buffer_pool_acquire_buffer(self->copies, &copy, &acquire) != GST_FLOW_OK) {
    problem = "the virtio-gpu gave no memory for a copy";
  } else if (!gst_video_frame_map(&from, &self->picture.info, buffer, GST_MAP_READ)) {
    problem = "the frame's memory can be read neither by the host nor by the CPU";
  } else {
    gboolean mapped = gst_video_frame_map(&to, &self->picture.info, copy, GST_MAP_WRITE);
    if (!mapped || !gst_video_frame_copy(&to, &from)) problem = "a frame cannot be copied";
    if (mapped) gst_video_frame_unmap(&to);
    gst_video_frame_unmap(&from);
  }
  if (!problem) return copy;
  g_set_error_literal(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED, problem);
  gst_clear_buffer(&copy);
  return NULL;
}

/* Counts a copy, and keeps the reason of the first. */
static void note_copy(GstVsockEnc *self, const GError *reason) {
  GST_OBJECT_LOCK(self);
  self->frames_copied++;
  if (!self->copy_reason)
    self->copy_reason = g_strdup(reason ? reason->message : "upstream did not take its pool");
  GST_OBJECT_UNLOCK(self);
}

/*
 * Neither GStreamer nor the kernel says who drew a DmaBuf: memory, caps and VideoMeta are the same,
 * and VIRTGPU_RESOURCE_INFO does not tell a dumb buffer from a texture.
 */
static void warn_of_guess(GstVsockEnc *self, const VencFrame *frame) {
  if (self->warned_content || frame->layout.content != vsockenc_Content_CONTENT_UNSPECIFIED) return;
  self->warned_content = TRUE;
  GST_ELEMENT_INFO(
      self, RESOURCE, SETTINGS,
      ("Whether the CPU or the GPU draws these DmaBufs is unknown (content=auto): dumb "
       "buffers are taken as drawn by the CPU, all others by the GPU. If pictures are "
       "black or old, set content=pages or content=rendered."),
      (NULL));
}

gboolean gst_vsock_enc_use_buffer(GstVsockEnc *self, GstBuffer *buffer, VencFrame *out,
                                  GError **error) {
  g_autoptr(GError) reason = NULL;

  if (gst_buffer_n_memory(buffer) == 0) {
    g_set_error_literal(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED, "a buffer without memory");
    return FALSE;
  }
  if (venc_planes_are_dmabufs(buffer)) {
    if (venc_buffers_use(self->buffers, buffer, &self->picture, out, &reason)) {
      warn_of_guess(self, out);
      if (!venc_session_reads_in_order(self->session, out))
        gst_vsock_enc_wait_for_writers(self, buffer);
      return TRUE;
    }
    if (g_error_matches(reason, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED)) {
      g_propagate_error(error, g_steal_pointer(&reason));
      return FALSE;
    }
    gst_vsock_enc_wait_for_writers(self, buffer);
  }
  if (self->picture.modifier != 0 || !self->gpu || !venc_session_wants_resources(self->session))
    return venc_buffers_use_inline(self->buffers, buffer, &self->picture, out, error);
  g_autoptr(GstBuffer) copy = copy_pixels(self, buffer, error);
  if (!copy) return FALSE;
  note_copy(self, reason);
  out->copied = TRUE;
  return venc_buffers_use(self->buffers, copy, &self->picture, out, error);
}
