/*
 * Caps and frames from upstream, in its streaming thread.
 *
 * Every wait (for the host's answer to a configuration, for room, for the last frames) releases the
 * stream lock, which the output task needs to push, and ends when the session is interrupted
 * (flush, PAUSED→READY).
 */
#include "gstvsockenc-private.h"
#include "planes.h"

/* Longest wait for the writers of a DmaBuf. */
#define FENCE_TIMEOUT_MS 500
/* Duration of a frame whose source gives neither times nor a rate. */
#define ASSUMED_DURATION (GST_SECOND / 30)
/* Non-increasing timestamps are moved this far past the previous one. */
#define LEAST_STEP GST_MSECOND

static GstFlowReturn downstream_flow(GstVsockEnc *self, GstFlowReturn otherwise) {
  GST_OBJECT_LOCK(self);
  GstFlowReturn flow = self->downstream;
  GST_OBJECT_UNLOCK(self);
  return flow == GST_FLOW_OK ? otherwise : flow;
}

GstFlowReturn gst_vsock_enc_drain(GstVsockEnc *self) {
  GST_VIDEO_ENCODER_STREAM_UNLOCK(self);
  VencResult result = venc_session_drain(self->session);
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

/*
 * The property in kbit/s. Helix documents its property in bit/s and passes kbit/s, so values that
 * are too large for kbit/s are read as bit/s.
 */
static guint bitrate_kbps(GstVsockEnc *self, guint value) {
  if (value <= VSOCKENC_MAX_BITRATE_KBPS) return value;
  guint kbps = MIN(value / 1000, VSOCKENC_MAX_BITRATE_KBPS);
  if (self->warned_bitrate != value)
    GST_ELEMENT_WARNING(self, LIBRARY, SETTINGS,
                        ("bitrate=%u is above %u kbit/s, so it is taken as bit/s: %u kbit/s.",
                         value, VSOCKENC_MAX_BITRATE_KBPS, kbps),
                        (NULL));
  self->warned_bitrate = value;
  return kbps;
}

static void make_configuration(GstVsockEnc *self, vsockenc_Configure *configuration) {
  const GstVideoInfo *info = &self->picture.info;
  *configuration = self->choice.stream;
  configuration->width = (guint)info->width;
  configuration->height = (guint)info->height;
  configuration->framerate_numerator = (guint)MAX(info->fps_n, 0);
  configuration->framerate_denominator = (guint)MAX(info->fps_d, 1);
  configuration->par_numerator = (guint)MAX(info->par_n, 1);
  configuration->par_denominator = (guint)MAX(info->par_d, 1);
  configuration->has_colorimetry =
      gst_vsock_enc_colorimetry_to_wire(&info->colorimetry, &configuration->colorimetry);
  GST_OBJECT_LOCK(self);
  guint bitrate = self->settings.bitrate;
  configuration->keyframe_interval = self->settings.keyframe_interval;
  configuration->rate_control = self->settings.rate_control == GST_VSOCK_ENC_RATE_CONTROL_VBR
                                    ? vsockenc_RateControl_VBR
                                    : vsockenc_RateControl_CBR;
  g_atomic_int_set(&self->settings_changed, FALSE);
  GST_OBJECT_UNLOCK(self);
  configuration->bitrate_kbps = bitrate_kbps(self, bitrate);
}

/* Sets whether the session may drop frames that the host has no room for. */
static void set_mode(GstVsockEnc *self) {
  GstVsockEncSettings *settings = &self->settings;
  gboolean live = is_live(self);
  GST_OBJECT_LOCK(self);
  self->lossless = settings->drop == GST_VSOCK_ENC_DROP_NEVER ||
                   (settings->drop == GST_VSOCK_ENC_DROP_AUTO && !live);
  gboolean fail = settings->on_disconnect == GST_VSOCK_ENC_ON_DISCONNECT_ERROR;
  guint max_in_flight = settings->max_in_flight;
  GST_OBJECT_UNLOCK(self);
  GST_INFO_OBJECT(self, "%s pipeline: %s", live ? "live" : "non-live",
                  self->lossless ? "no frame is dropped" : "only the newest frame waits");
  venc_session_set_mode(self->session, self->lossless, fail, max_in_flight);
}

static gboolean configure(GstVsockEnc *self) {
  vsockenc_Configure configuration;
  g_autoptr(GError) error = NULL;

  make_configuration(self, &configuration);
  GST_VIDEO_ENCODER_STREAM_UNLOCK(self);
  VencResult result = venc_session_configure(self->session, &configuration, TRUE, &error);
  GST_VIDEO_ENCODER_STREAM_LOCK(self);
  if (result == VENC_FAILED)
    GST_ELEMENT_ERROR(self, STREAM, ENCODE,
                      ("The host has no encoder for %ux%u: %s", configuration.width,
                       configuration.height, error ? error->message : "unknown reason"),
                      (NULL));
  return result == VENC_OK;
}

static vsockenc_Content wire_content(GstVsockEnc *self) {
  GST_OBJECT_LOCK(self);
  GstVsockEncContent content = self->settings.content;
  GST_OBJECT_UNLOCK(self);
  return content == GST_VSOCK_ENC_CONTENT_PAGES      ? vsockenc_Content_PAGES
         : content == GST_VSOCK_ENC_CONTENT_RENDERED ? vsockenc_Content_RENDERED
                                                     : vsockenc_Content_CONTENT_UNSPECIFIED;
}

/* Parses input caps and, unless it is NULL, makes the `choice` for them. FALSE: posted. */
static gboolean parse_caps(GstVsockEnc *self, GstCaps *caps, VencPicture *picture,
                           GstVsockEncChoice *choice) {
  g_autoptr(GError) error = NULL;
  vsockenc_Welcome host;
  venc_session_get_host(self->session, &host);
  if (gst_vsock_enc_parse_caps(caps, &host, picture, &error) &&
      (!choice || gst_vsock_enc_choose(self, &picture->info, choice, &error))) {
    picture->content = wire_content(self);
    return TRUE;
  }
  GST_ELEMENT_ERROR(self, CORE, NEGOTIATION, ("Cannot encode this: %s.", error->message),
                    ("%" GST_PTR_FORMAT, caps));
  return FALSE;
}

gboolean gst_vsock_enc_set_format(GstVideoEncoder *encoder, GstVideoCodecState *state) {
  GstVsockEnc *self = GST_VSOCK_ENC(encoder);
  VencPicture picture;
  GstVsockEncChoice choice = {0};

  if (!parse_caps(self, state->caps, &picture, &choice)) return FALSE;
  if (self->input) {
    if (gst_vsock_enc_drain(self) != GST_FLOW_OK) return FALSE;
    gst_video_codec_state_unref(self->input);
  }
  self->input = gst_video_codec_state_ref(state);
  self->picture = picture;
  /* With the same codec the sets stay valid: the host need not send them again. */
  if (choice.stream.codec != self->choice.stream.codec) venc_parameter_sets_clear(&self->sets);
  self->choice = choice;
  self->negotiate = TRUE;
  self->max_pending = 0;
  self->set_latency = GST_CLOCK_TIME_NONE;
  gst_vsock_enc_clear_copies(self);
  set_mode(self);
  return configure(self);
}

gboolean gst_vsock_enc_update_caps(GstVsockEnc *self, GstCaps *caps) {
  VencPicture picture;
  if (!self->input) return TRUE;
  if (!parse_caps(self, caps, &picture, NULL)) return FALSE;
  self->picture = picture;
  return TRUE;
}

void gst_vsock_enc_reset_input(GstVsockEnc *self) {
  g_clear_pointer(&self->input, gst_video_codec_state_unref);
  gst_vsock_enc_clear_copies(self);
  self->last_pts = GST_CLOCK_TIME_NONE;
  g_clear_pointer(&self->copy_reason, g_free);
  self->max_pending = 0;
  self->set_latency = GST_CLOCK_TIME_NONE;
  self->has_caps = FALSE;
  g_queue_clear_full(&self->drops, (GDestroyNotify)gst_video_codec_frame_unref);
  venc_parameter_sets_clear(&self->sets);
  g_clear_pointer(&self->tagged_encoder, g_free);
  self->tagged_bitrate = 0;
}

/* Some sources give no times, or always 0; downstream needs increasing ones. */
static void set_times(GstVsockEnc *self, GstVideoCodecFrame *frame) {
  const GstVideoInfo *info = &self->picture.info;
  GstClockTime last = self->last_pts;

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
  self->last_pts = frame->pts;
}

static VencFrame *new_frame(GstVsockEnc *self, GstVideoCodecFrame *frame, GError **error) {
  VencFrame *out = g_new0(VencFrame, 1);
  if (!gst_vsock_enc_use_buffer(self, frame->input_buffer, out, error)) {
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

/* Leaves the frame its metadata only: the session holds the pixels for as long as it needs. */
static void leave_pixels(GstVideoCodecFrame *frame) {
  g_autoptr(GstBuffer) pixels = frame->input_buffer;
  frame->input_buffer = gst_buffer_new();
  gst_buffer_copy_into(frame->input_buffer, pixels,
                       GST_BUFFER_COPY_FLAGS | GST_BUFFER_COPY_TIMESTAMPS | GST_BUFFER_COPY_META, 0,
                       (gsize)-1);
}

static GstFlowReturn submit(GstVsockEnc *self, VencFrame *out) {
  VencFrame *replaced = NULL;

  GST_VIDEO_ENCODER_STREAM_UNLOCK(self);
  VencResult result = venc_session_submit(self->session, out, &replaced);
  GST_VIDEO_ENCODER_STREAM_LOCK(self);

  if (result == VENC_OK)
    self->max_pending = MAX(self->max_pending, venc_session_pending(self->session));
  else if (result == VENC_AWAY)
    gst_vsock_enc_drop_frame(self, g_steal_pointer(&out->user));
  if (replaced) {
    gst_vsock_enc_drop_frame(self, g_steal_pointer(&replaced->user));
    venc_frame_free(replaced);
  }
  if (result == VENC_OK) return GST_FLOW_OK;
  venc_frame_free(out);
  if (result == VENC_AWAY) return GST_FLOW_OK;
  return downstream_flow(self, result == VENC_FAILED ? GST_FLOW_ERROR : GST_FLOW_FLUSHING);
}

void gst_vsock_enc_wait_for_writers(GstVsockEnc *self, GstBuffer *buffer) {
  GST_VIDEO_ENCODER_STREAM_UNLOCK(self);
  VencResult result = venc_planes_wait_idle(buffer, self->session, FENCE_TIMEOUT_MS);
  GST_VIDEO_ENCODER_STREAM_LOCK(self);
  if (result == VENC_FAILED)
    GST_WARNING_OBJECT(self, "a DmaBuf is still written to after %d ms", FENCE_TIMEOUT_MS);
}

/* Applies a live change to the frames from here on, without waiting for the answer. */
static void apply_settings(GstVsockEnc *self) {
  vsockenc_Configure configuration;
  if (!g_atomic_int_get(&self->settings_changed)) return;
  make_configuration(self, &configuration);
  venc_session_configure(self->session, &configuration, FALSE, NULL);
}

/* Downstream would discard the frame (property qos), and this pipeline may drop frames. */
static gboolean is_late(GstVsockEnc *self, GstVideoCodecFrame *frame) {
  return !GST_VIDEO_CODEC_FRAME_IS_FORCE_KEYFRAME(frame) && !self->lossless &&
         gst_video_encoder_get_max_encode_time(GST_VIDEO_ENCODER(self), frame) < 0;
}

GstFlowReturn gst_vsock_enc_handle_frame(GstVideoEncoder *encoder, GstVideoCodecFrame *frame) {
  GstVsockEnc *self = GST_VSOCK_ENC(encoder);
  g_autoptr(GError) error = NULL;
  GstFlowReturn flow = downstream_flow(self, GST_FLOW_OK);

  if (flow != GST_FLOW_OK) {
    gst_vsock_enc_drop_frame(self, frame);
    return flow;
  }
  gboolean late = is_late(self, frame);
  GST_OBJECT_LOCK(self);
  self->frames_in++;
  if (late) self->frames_late++;
  GST_OBJECT_UNLOCK(self);
  if (late) {
    gst_vsock_enc_drop_frame(self, frame);
    return GST_FLOW_OK;
  }
  apply_settings(self);
  VencFrame *out = new_frame(self, frame, &error);
  if (!out) {
    GST_ELEMENT_ERROR(self, STREAM, ENCODE,
                      ("Cannot send a frame to the host: %s.", error->message),
                      ("%" GST_PTR_FORMAT, frame->input_buffer));
    gst_vsock_enc_drop_frame(self, frame);
    return GST_FLOW_ERROR;
  }
  leave_pixels(frame);
  return submit(self, out);
}
