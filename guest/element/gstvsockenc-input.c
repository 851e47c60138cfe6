/*
 * Caps and frames from upstream, in its streaming thread.
 *
 * Whatever waits (for the host's answer to a configuration, for room, for the last frames) does so
 * without the stream lock, which the output task needs to push, and ends when the session is
 * interrupted (flush, PAUSED→READY).
 */
#include <gst/allocators/allocators.h>

#include "gstvsockenc-private.h"
#include "places.h"

/* Writers of a DmaBuf that have not finished by then are waited for no longer. */
#define FENCE_TIMEOUT_MS 500
/* Between frames whose source gives neither times nor a rate. */
#define ASSUMED_DURATION (GST_SECOND / 30)
/* A time that does not rise is moved that far behind the one before. */
#define LEAST_STEP GST_MSECOND

static GstFlowReturn downstream_flow(GstVsockEnc *self, GstFlowReturn otherwise) {
  GST_OBJECT_LOCK(self);
  GstFlowReturn flow = gst_vsock_enc_private(self)->downstream;
  GST_OBJECT_UNLOCK(self);
  return flow == GST_FLOW_OK ? otherwise : flow;
}

GstFlowReturn gst_vsock_enc_drain(GstVsockEnc *self) {
  GstVsockEncPrivate *priv = gst_vsock_enc_private(self);
  GST_VIDEO_ENCODER_STREAM_UNLOCK(self);
  VencResult result = venc_session_drain(priv->session);
  GST_VIDEO_ENCODER_STREAM_LOCK(self);
  if (result == VENC_OK) return GST_FLOW_OK;
  return downstream_flow(self, result == VENC_FAILED ? GST_FLOW_ERROR : GST_FLOW_FLUSHING);
}

static gboolean is_live(GstVsockEnc *self) {
  g_autoptr(GstQuery) query = gst_query_new_latency();
  gboolean live = FALSE;
  if (gst_pad_peer_query(GST_VIDEO_ENCODER_SINK_PAD(self), query))
    gst_query_parse_latency(query, &live, NULL, NULL);
  return live;
}

static void make_configuration(GstVsockEnc *self, VencConfiguration *configuration) {
  GstVsockEncPrivate *priv = gst_vsock_enc_private(self);
  const GstVideoInfo *info = &priv->info;
  *configuration = (VencConfiguration){
      .codec = vsockenc_Codec_H264,
      .width = (guint)info->width,
      .height = (guint)info->height,
      .fps_n = (guint)MAX(info->fps_n, 0),
      .fps_d = (guint)MAX(info->fps_d, 1),
      .par_n = (guint)MAX(info->par_n, 1),
      .par_d = (guint)MAX(info->par_d, 1),
  };
  configuration->has_colorimetry =
      gst_vsock_enc_colorimetry_to_wire(&info->colorimetry, &configuration->colorimetry);
  GST_OBJECT_LOCK(self);
  configuration->bitrate_kbps = priv->settings.bitrate;
  configuration->keyframe_interval = priv->settings.keyframe_interval;
  g_atomic_int_set(&priv->settings_changed, FALSE);
  GST_OBJECT_UNLOCK(self);
}

/* Tells the session how this pipeline treats frames the host has no room for. */
static void set_mode(GstVsockEnc *self) {
  GstVsockEncPrivate *priv = gst_vsock_enc_private(self);
  GstVsockEncSettings *settings = &priv->settings;
  priv->live = is_live(self);
  GST_OBJECT_LOCK(self);
  gboolean lossless = settings->drop == GST_VSOCK_ENC_DROP_NEVER ||
                      (settings->drop == GST_VSOCK_ENC_DROP_AUTO && !priv->live);
  gboolean fail = settings->on_disconnect == GST_VSOCK_ENC_ON_DISCONNECT_ERROR;
  guint max_in_flight = settings->max_in_flight;
  GST_OBJECT_UNLOCK(self);
  GST_INFO_OBJECT(self, "%s pipeline: %s", priv->live ? "live" : "non-live",
                  lossless ? "every frame counts" : "the newest frame counts");
  venc_session_set_mode(priv->session, lossless, fail, max_in_flight);
}

static void clear_copies(GstVsockEncPrivate *priv) {
  if (!priv->copies) return;
  gst_buffer_pool_set_active(priv->copies, FALSE);
  gst_clear_object(&priv->copies);
}

static gboolean configure(GstVsockEnc *self) {
  GstVsockEncPrivate *priv = gst_vsock_enc_private(self);
  VencConfiguration configuration;
  g_autoptr(GError) error = NULL;

  make_configuration(self, &configuration);
  GST_VIDEO_ENCODER_STREAM_UNLOCK(self);
  VencResult result =
      venc_session_configure(priv->session, &configuration, TRUE, &priv->configured, &error);
  GST_VIDEO_ENCODER_STREAM_LOCK(self);
  if (result == VENC_FAILED)
    GST_ELEMENT_ERROR(self, STREAM, ENCODE,
                      ("The host has no encoder for %ux%u: %s", configuration.width,
                       configuration.height, error ? error->message : "unknown reason"),
                      (NULL));
  return result == VENC_OK;
}

gboolean gst_vsock_enc_set_format(GstVideoEncoder *encoder, GstVideoCodecState *state) {
  GstVsockEnc *self = GST_VSOCK_ENC(encoder);
  GstVsockEncPrivate *priv = gst_vsock_enc_private(self);
  g_autoptr(GError) error = NULL;
  GstVideoInfo info;
  guint32 fourcc = 0;

  if (!gst_vsock_enc_parse_caps(state->caps, &info, &fourcc, &error)) {
    GST_ELEMENT_ERROR(self, CORE, NEGOTIATION, ("Cannot encode this: %s.", error->message),
                      ("%" GST_PTR_FORMAT, state->caps));
    return FALSE;
  }
  if (priv->input) {
    if (gst_vsock_enc_drain(self) != GST_FLOW_OK) return FALSE;
    gst_video_codec_state_unref(priv->input);
  }
  priv->input = gst_video_codec_state_ref(state);
  priv->info = info;
  priv->fourcc = fourcc;
  priv->negotiate = TRUE;
  priv->max_pending = 0;
  priv->told_latency = GST_CLOCK_TIME_NONE;
  clear_copies(priv);
  set_mode(self);
  return configure(self);
}

void gst_vsock_enc_update_caps(GstVsockEnc *self, GstCaps *caps) {
  GstVsockEncPrivate *priv = gst_vsock_enc_private(self);
  GstVideoInfo info;
  guint32 fourcc;
  if (!priv->input || !gst_vsock_enc_parse_caps(caps, &info, &fourcc, NULL)) return;
  priv->info = info;
  priv->fourcc = fourcc;
}

void gst_vsock_enc_reset_input(GstVsockEnc *self) {
  GstVsockEncPrivate *priv = gst_vsock_enc_private(self);
  g_clear_pointer(&priv->input, gst_video_codec_state_unref);
  clear_copies(priv);
  priv->last_pts = GST_CLOCK_TIME_NONE;
  g_clear_pointer(&priv->copy_reason, g_free);
  priv->max_pending = 0;
  priv->told_latency = GST_CLOCK_TIME_NONE;
  priv->has_caps = FALSE;
  g_queue_clear_full(&priv->drops, (GDestroyNotify)gst_video_codec_frame_unref);
  memset(priv->profile, 0, sizeof priv->profile);
}

gboolean gst_vsock_enc_propose_allocation(GstVideoEncoder *encoder, GstQuery *query) {
  GstVsockEnc *self = GST_VSOCK_ENC(encoder);
  GstVsockEncPrivate *priv = gst_vsock_enc_private(self);
  GstAllocationParams params = {.flags = 0, .align = 15};
  GstCaps *caps = NULL;
  gboolean need_pool = FALSE;
  GstVideoInfo info;

  gst_query_parse_allocation(query, &caps, &need_pool);
  if (!caps) return FALSE;
  gst_query_add_allocation_meta(query, GST_VIDEO_META_API_TYPE, NULL);
  GST_OBJECT_LOCK(self);
  guint buffers = priv->settings.max_in_flight + 2;
  GST_OBJECT_UNLOCK(self);
  if (gst_vsock_enc_is_dmabuf_caps(caps) || !priv->allocator) {
    gst_query_add_allocation_pool(query, NULL, 0, buffers, 0);
    return TRUE;
  }
  if (!gst_video_info_from_caps(&info, caps)) return FALSE;
  gst_query_add_allocation_param(query, priv->allocator, &params);
  g_autoptr(GstBufferPool) pool = need_pool ? gst_video_buffer_pool_new() : NULL;
  if (pool) {
    GstStructure *config = gst_buffer_pool_get_config(pool);
    gst_buffer_pool_config_set_params(config, caps, (guint)info.size, buffers, 0);
    gst_buffer_pool_config_set_allocator(config, priv->allocator, &params);
    gst_buffer_pool_config_add_option(config, GST_BUFFER_POOL_OPTION_VIDEO_META);
    if (!gst_buffer_pool_set_config(pool, config)) return FALSE;
  }
  gst_query_add_allocation_pool(query, pool, (guint)info.size, buffers, 0);
  return TRUE;
}

static GstBufferPool *new_copies(GstVsockEncPrivate *priv) {
  g_autoptr(GstBufferPool) pool = gst_video_buffer_pool_new();
  g_autoptr(GstCaps) caps = gst_video_info_to_caps(&priv->info);
  GstAllocationParams params = {.flags = 0, .align = 15};
  GstStructure *config = gst_buffer_pool_get_config(pool);
  gst_buffer_pool_config_set_params(config, caps, (guint)priv->info.size, 0, 0);
  gst_buffer_pool_config_set_allocator(config, priv->allocator, &params);
  gst_buffer_pool_config_add_option(config, GST_BUFFER_POOL_OPTION_VIDEO_META);
  if (!gst_buffer_pool_set_config(pool, config) || !gst_buffer_pool_set_active(pool, TRUE))
    return NULL;
  return g_steal_pointer(&pool);
}

/* A copy of the pixels in memory that the host can read. NULL: `error` is set. */
static GstBuffer *copy_pixels(GstVsockEnc *self, GstBuffer *buffer, GError **error) {
  GstVsockEncPrivate *priv = gst_vsock_enc_private(self);
  GstVideoFrame from, to;
  GstBuffer *copy = NULL;

  if (!priv->copies) priv->copies = new_copies(priv);
  if (!priv->copies || gst_buffer_pool_acquire_buffer(priv->copies, &copy, NULL) != GST_FLOW_OK) {
    g_set_error_literal(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED,
                        "the virtio-gpu gave no memory for a copy");
    return NULL;
  }
  if (!gst_video_frame_map(&from, &priv->info, buffer, GST_MAP_READ)) {
    g_set_error_literal(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED,
                        "the frame's memory can be read neither by the host nor by the CPU");
    gst_buffer_unref(copy);
    return NULL;
  }
  gboolean copied = gst_video_frame_map(&to, &priv->info, copy, GST_MAP_WRITE);
  if (copied) {
    copied = gst_video_frame_copy(&to, &from);
    gst_video_frame_unmap(&to);
  }
  gst_video_frame_unmap(&from);
  if (!copied) {
    g_set_error_literal(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED, "a frame cannot be copied");
    gst_clear_buffer(&copy);
    return NULL;
  }
  return copy;
}

/* Counts a copy, and keeps why the first was made. */
static void note_copy(GstVsockEnc *self, const GError *reason) {
  GstVsockEncPrivate *priv = gst_vsock_enc_private(self);
  GST_OBJECT_LOCK(self);
  priv->frames_copied++;
  if (!priv->copy_reason)
    priv->copy_reason = g_strdup(reason ? reason->message : "upstream did not take its pool");
  GST_OBJECT_UNLOCK(self);
}

/*
 * Finds a way to the host for the pixels: the resource that they are in, a copy in a resource, or
 * the link.
 */
static gboolean use_buffer(GstVsockEnc *self, GstBuffer *buffer, VencFrame *out, GError **error) {
  GstVsockEncPrivate *priv = gst_vsock_enc_private(self);
  g_autoptr(GError) reason = NULL;

  if (gst_buffer_n_memory(buffer) == 0) {
    g_set_error_literal(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED, "a buffer without memory");
    return FALSE;
  }
  if (venc_places_are_dmabufs(buffer)) {
    if (venc_buffers_use(priv->buffers, buffer, &priv->info, priv->fourcc, out, &reason))
      return TRUE;
    if (g_error_matches(reason, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED)) {
      g_propagate_error(error, g_steal_pointer(&reason));
      return FALSE;
    }
  }
  if (!priv->gpu || !venc_session_wants_resources(priv->session))
    return venc_buffers_use_inline(priv->buffers, buffer, &priv->info, priv->fourcc, out, error);
  g_autoptr(GstBuffer) copy = copy_pixels(self, buffer, error);
  if (!copy) return FALSE;
  note_copy(self, reason);
  out->copied = TRUE;
  return venc_buffers_use(priv->buffers, copy, &priv->info, priv->fourcc, out, error);
}

/* Some sources give no times, or 0 always; downstream needs them to rise. */
static void set_times(GstVsockEnc *self, GstVideoCodecFrame *frame) {
  GstVsockEncPrivate *priv = gst_vsock_enc_private(self);
  const GstVideoInfo *info = &priv->info;
  GstClockTime last = priv->last_pts;

  if (GST_CLOCK_TIME_IS_VALID(last) &&
      (!GST_CLOCK_TIME_IS_VALID(frame->pts) || frame->pts <= last)) {
    gboolean missing = !GST_CLOCK_TIME_IS_VALID(frame->pts) || frame->pts == 0;
    GstClockTime duration =
        GST_CLOCK_TIME_IS_VALID(frame->duration) && frame->duration > 0 ? frame->duration
        : info->fps_n > 0 ? gst_util_uint64_scale_int(GST_SECOND, info->fps_d, info->fps_n)
                          : ASSUMED_DURATION;
    frame->pts = last + (missing ? duration : LEAST_STEP);
  } else if (!GST_CLOCK_TIME_IS_VALID(frame->pts)) {
    frame->pts = 0;
  }
  frame->dts = frame->pts; /* nothing is reordered */
  priv->last_pts = frame->pts;
}

static VencFrame *new_frame(GstVsockEnc *self, GstVideoCodecFrame *frame, GError **error) {
  VencFrame *out = g_new0(VencFrame, 1);
  if (!use_buffer(self, frame->input_buffer, out, error)) {
    venc_frame_free(out);
    return NULL;
  }
  set_times(self, frame);
  out->pts = frame->pts;
  out->duration = GST_CLOCK_TIME_IS_VALID(frame->duration) ? frame->duration : 0;
  out->force_key = GST_VIDEO_CODEC_FRAME_IS_FORCE_KEYFRAME(frame);
  out->user = frame;
  out->free_user = (GDestroyNotify)gst_video_codec_frame_unref;
  return out;
}

/* Leaves the frame its metadata only: who keeps the pixels, and until when, is the session's
 * affair. */
static void leave_pixels(GstVideoCodecFrame *frame) {
  g_autoptr(GstBuffer) pixels = frame->input_buffer;
  frame->input_buffer = gst_buffer_new();
  gst_buffer_copy_into(frame->input_buffer, pixels,
                       GST_BUFFER_COPY_FLAGS | GST_BUFFER_COPY_TIMESTAMPS | GST_BUFFER_COPY_META, 0,
                       (gsize)-1);
}

static GstFlowReturn submit(GstVsockEnc *self, VencFrame *out) {
  GstVsockEncPrivate *priv = gst_vsock_enc_private(self);
  VencFrame *replaced = NULL;

  GST_VIDEO_ENCODER_STREAM_UNLOCK(self);
  VencResult result = venc_session_submit(priv->session, out, &replaced);
  GST_VIDEO_ENCODER_STREAM_LOCK(self);

  switch (result) {
    case VENC_OK:
      priv->max_pending = MAX(priv->max_pending, venc_session_pending(priv->session));
      break;
    case VENC_AWAY:
      gst_vsock_enc_drop_frame(self, g_steal_pointer(&out->user));
      break;
    case VENC_INTERRUPTED:
    case VENC_FAILED:
      break;
  }
  if (replaced) {
    gst_vsock_enc_drop_frame(self, g_steal_pointer(&replaced->user));
    venc_frame_free(replaced);
  }
  if (result == VENC_OK) return GST_FLOW_OK;
  venc_frame_free(out);
  if (result == VENC_AWAY) return GST_FLOW_OK;
  return downstream_flow(self, result == VENC_FAILED ? GST_FLOW_ERROR : GST_FLOW_FLUSHING);
}

/* Whoever draws into the frame's DmaBufs has to be done before anybody reads them. */
static void wait_for_writers(GstVsockEnc *self, GstBuffer *buffer) {
  GstVsockEncPrivate *priv = gst_vsock_enc_private(self);
  if (!venc_places_are_dmabufs(buffer)) return;
  GST_VIDEO_ENCODER_STREAM_UNLOCK(self);
  VencResult result = venc_places_wait_idle(buffer, priv->session, FENCE_TIMEOUT_MS);
  GST_VIDEO_ENCODER_STREAM_LOCK(self);
  if (result == VENC_FAILED)
    GST_WARNING_OBJECT(self, "a DmaBuf is still written to after %d ms", FENCE_TIMEOUT_MS);
}

/* A live change: frames from here on belong to it, and nothing has to wait for the answer. */
static void apply_settings(GstVsockEnc *self) {
  GstVsockEncPrivate *priv = gst_vsock_enc_private(self);
  VencConfiguration configuration;
  if (!g_atomic_int_get(&priv->settings_changed)) return;
  make_configuration(self, &configuration);
  venc_session_configure(priv->session, &configuration, FALSE, NULL, NULL);
}

GstFlowReturn gst_vsock_enc_handle_frame(GstVideoEncoder *encoder, GstVideoCodecFrame *frame) {
  GstVsockEnc *self = GST_VSOCK_ENC(encoder);
  GstVsockEncPrivate *priv = gst_vsock_enc_private(self);
  g_autoptr(GError) error = NULL;
  GstFlowReturn flow = downstream_flow(self, GST_FLOW_OK);

  if (flow != GST_FLOW_OK) {
    gst_vsock_enc_drop_frame(self, frame);
    return flow;
  }
  GST_OBJECT_LOCK(self);
  priv->frames_in++;
  GST_OBJECT_UNLOCK(self);
  wait_for_writers(self, frame->input_buffer);
  apply_settings(self);
  VencFrame *out = new_frame(self, frame, &error);
  if (!out) {
    GST_ELEMENT_ERROR(self, STREAM, ENCODE,
                      ("A frame cannot be handed to the host: %s.", error->message),
                      ("%" GST_PTR_FORMAT, frame->input_buffer));
    gst_vsock_enc_drop_frame(self, frame);
    return GST_FLOW_ERROR;
  }
  leave_pixels(frame);
  return submit(self, out);
}
