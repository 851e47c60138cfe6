/*
 * The source pad's task, which pushes the host's answers downstream: not the streaming thread,
 * because output must not wait for the next input frame; and not the session's I/O thread, which
 * must never wait for the pipeline. Access units get caps and tags, and the negotiated format, with
 * the stream lock held.
 */
#include <gst/pbutils/pbutils.h>
#include <stdio.h>

#include "gstvsockenc-private.h"

/* Duration of a frame without a frame rate, for the latency only. */
#define ASSUMED_DURATION (GST_SECOND / 30)
/* Frames whose drop may be deferred; they hold no pixels. */
#define MAX_DROPS 256u

/* The base class completes the caps from this state before it pushes next. */
static void set_output_state(GstVsockEnc *self, GstCaps *caps, GBytes *record) {
  const GstVideoInfo *info = &self->picture.info;
  vsockenc_Configured configured;

  venc_session_get_configured(self->session, &configured);
  GstVideoCodecState *state =
      gst_video_encoder_set_output_state(GST_VIDEO_ENCODER(self), caps, self->input);
  state->info.width = (gint)(configured.width ? configured.width : (info->width + 1u) & ~1u);
  state->info.height = (gint)(configured.height ? configured.height : (info->height + 1u) & ~1u);
  gst_vsock_enc_colorimetry_from_wire(&configured.colorimetry, &state->info.colorimetry);
  if (record) state->codec_data = gst_buffer_new_wrapped_bytes(record);
  gst_video_codec_state_unref(state);
  self->has_caps = TRUE;
}

static GstCaps *base_caps(const GstVsockEncChoice *choice) {
  return gst_caps_new_simple(choice->media, "stream-format", G_TYPE_STRING, choice->stream_format,
                             "alignment", G_TYPE_STRING, "au", NULL);
}

static void set_profile(vsockenc_Codec codec, GstCaps *caps, const VencParameterSets *sets) {
  if (codec == vsockenc_Codec_H265)
    gst_codec_utils_h265_caps_set_level_tier_and_profile(caps, sets->profile, sets->profile_size);
  else
    gst_codec_utils_h264_caps_set_level_and_profile(caps, sets->profile, sets->profile_size);
}

/* Whether downstream accepts the stream's caps; if not, posts an error that names both. */
static gboolean fit_downstream(GstVsockEnc *self, GstCaps *caps) {
  GstStructure *structure = gst_caps_get_structure(caps, 0);
  g_autoptr(GstCaps) wanted = gst_pad_peer_query_caps(GST_VIDEO_ENCODER_SRC_PAD(self), NULL);
  if (gst_caps_can_intersect(caps, wanted)) return TRUE;
  if (g_strcmp0(gst_structure_get_string(structure, "profile"), "constrained-baseline") == 0) {
    g_autoptr(GstCaps) baseline = gst_caps_copy(caps);
    gst_caps_set_simple(baseline, "profile", G_TYPE_STRING, "baseline", NULL);
    if (gst_caps_can_intersect(baseline, wanted)) {
      gst_caps_set_simple(caps, "profile", G_TYPE_STRING, "baseline", NULL);
      return TRUE;
    }
  }
  g_autofree gchar *wants = gst_caps_to_string(wanted);
  g_autofree gchar *has = gst_caps_to_string(caps);
  GST_ELEMENT_ERROR(self, CORE, NEGOTIATION,
                    ("The host's encoder makes %s, but downstream accepts %s.", has, wants),
                    (NULL));
  return FALSE;
}

/* Negotiates caps from the parameter sets; without them, caps without profile and level. */
static gboolean negotiate(GstVsockEnc *self) {
  const GstVsockEncChoice *choice = &self->choice;
  g_autoptr(GstCaps) caps = base_caps(choice);

  if (self->sets.record)
    set_profile(choice->stream.codec, caps, &self->sets);
  else
    GST_WARNING_OBJECT(self, "the first access unit has no SPS: caps without profile and level");
  if (!fit_downstream(self, caps)) return FALSE;
  set_output_state(self, gst_caps_ref(caps), choice->packetized ? self->sets.record : NULL);
  self->negotiate = FALSE;
  if (gst_video_encoder_negotiate(GST_VIDEO_ENCODER(self))) return TRUE;
  g_autofree gchar *has = gst_caps_to_string(caps);
  GST_ELEMENT_ERROR(self, CORE, NEGOTIATION, ("Downstream rejected %s.", has), (NULL));
  return FALSE;
}

/* GST_TAG_ENCODER_VERSION is a number: three digits for each part of the version. */
static guint version_number(void) {
  guint major = 0, minor = 0, patch = 0;
  if (sscanf(PACKAGE_VERSION, "%u.%u.%u", &major, &minor, &patch) < 2) return 0;
  return (major * 1000 + minor) * 1000 + patch;
}

/* The encoder may change when the host was lost, and the bit rate at any time. */
static void update_tags(GstVsockEnc *self) {
  vsockenc_Configured configured;

  venc_session_get_configured(self->session, &configured);
  if (!configured.serial || (configured.bitrate_kbps == self->tagged_bitrate &&
                             g_strcmp0(configured.encoder, self->tagged_encoder) == 0))
    return;
  g_free(self->tagged_encoder);
  self->tagged_encoder = g_strdup(configured.encoder);
  self->tagged_bitrate = configured.bitrate_kbps;
  g_autofree gchar *encoder =
      g_strdup_printf("%s, by " VSOCKENC_FACTORY " " PACKAGE_VERSION, configured.encoder);
  g_autoptr(GstTagList) tags =
      gst_tag_list_new(GST_TAG_ENCODER, encoder, GST_TAG_ENCODER_VERSION, version_number(), NULL);
  g_autoptr(GstCaps) caps = base_caps(&self->choice);
  gst_pb_utils_add_codec_description_to_tag_list(tags, GST_TAG_VIDEO_CODEC, caps);
  if (configured.bitrate_kbps > 0 && configured.bitrate_kbps <= VSOCKENC_MAX_BITRATE_KBPS)
    gst_tag_list_add(tags, GST_TAG_MERGE_REPLACE, GST_TAG_NOMINAL_BITRATE,
                     configured.bitrate_kbps * 1000u, NULL);
  gst_video_encoder_merge_tags(GST_VIDEO_ENCODER(self), tags, GST_TAG_MERGE_REPLACE);
}

static GstBuffer *refuse_unit(GstVsockEnc *self, const gchar *text, GstFlowReturn *flow) {
  GST_ELEMENT_ERROR(self, STREAM, ENCODE, ("Unusable access unit: %s.", text), (NULL));
  *flow = GST_FLOW_ERROR;
  return NULL;
}

/* Sets caps and tags from `output`; returns its bytes in downstream's format. NULL: posted. */
static GstBuffer *take_unit(GstVsockEnc *self, VencOutput *output, GstFlowReturn *flow) {
  const GstVsockEncChoice *choice = &self->choice;
  g_auto(VencParameterSets) sets = {0};
  g_autoptr(GError) error = NULL;

  /* A byte stream keeps its parameter sets, so only those of key frames matter, for the caps. */
  if (output->key || choice->packetized) {
    venc_parameter_sets_find(choice->stream.codec, output->bytes, output->size, &sets, &error);
    if (error) return refuse_unit(self, error->message, flow);
  }
  if (sets.record && (!self->sets.record || !g_bytes_equal(sets.record, self->sets.record))) {
    venc_parameter_sets_clear(&self->sets);
    self->sets = sets;
    sets.record = NULL;
    self->negotiate = TRUE;
  }
  if (choice->packetized && !self->sets.record)
    return refuse_unit(self, "the first one has no parameter sets", flow);
  if (self->negotiate && !negotiate(self)) {
    *flow = GST_FLOW_NOT_NEGOTIATED;
    return NULL;
  }
  update_tags(self);
  if (!choice->packetized)
    return gst_buffer_new_wrapped(g_steal_pointer(&output->bytes), output->size);
  gsize size = 0;
  guint8 *sample =
      venc_unit_to_sample(choice->stream.codec, output->bytes, output->size, &size, &error);
  return sample ? gst_buffer_new_wrapped(sample, size) : refuse_unit(self, error->message, flow);
}

static void set_downstream(GstVsockEnc *self, GstFlowReturn flow) {
  GST_OBJECT_LOCK(self);
  self->downstream = flow;
  GST_OBJECT_UNLOCK(self);
}

static void drop_now(GstVsockEnc *self, GstVideoCodecFrame *frame) {
#if GST_CHECK_VERSION(1, 26, 0)
  gst_video_encoder_drop_frame(GST_VIDEO_ENCODER(self), frame);
#else
  /* Without an output buffer this drops, posts QoS and pushes the frame's events. */
  gst_video_encoder_finish_frame(GST_VIDEO_ENCODER(self), frame);
#endif
}

void gst_vsock_enc_release_drops(GstVsockEnc *self) {
  GstVideoCodecFrame *frame;
  if (self->drops.length == 0) return;
  if (!self->has_caps) {
    /* Without profile and level: the pipeline may get no access unit. */
    set_output_state(self, base_caps(&self->choice), NULL);
    gst_video_encoder_negotiate(GST_VIDEO_ENCODER(self));
  }
  while ((frame = g_queue_pop_head(&self->drops))) drop_now(self, frame);
}

/*
 * The base class cannot drop a frame before there are caps: up to 1.24 it posts an error, and from
 * 1.26 it keeps the frame's events and then pushes caps ahead of the stream-start among them. So
 * the drops of the first frames are deferred until the first access unit.
 */
void gst_vsock_enc_drop_frame(GstVsockEnc *self, GstVideoCodecFrame *frame) {
  GST_VIDEO_ENCODER_STREAM_LOCK(self);
  g_queue_push_tail(&self->drops, frame);
  if (self->has_caps || self->drops.length > MAX_DROPS) gst_vsock_enc_release_drops(self);
  GST_VIDEO_ENCODER_STREAM_UNLOCK(self);
}

/* Latency of as many frames as have been with the host at one time; it only grows. */
static void update_latency(GstVsockEnc *self) {
  const GstVideoInfo *info = &self->picture.info;
  GstClockTime duration = info->fps_n > 0
                              ? gst_util_uint64_scale_int(GST_SECOND, info->fps_d, info->fps_n)
                              : ASSUMED_DURATION;
  GstClockTime latency = duration * MAX(self->max_pending, 1);
  if (self->set_latency != GST_CLOCK_TIME_NONE && latency <= self->set_latency) return;
  self->set_latency = latency;
  gst_video_encoder_set_latency(GST_VIDEO_ENCODER(self), latency, latency);
}

static void warn_of_copies(GstVsockEnc *self) {
  GST_OBJECT_LOCK(self);
  g_autofree gchar *reason = g_strdup(self->copy_reason);
  GST_OBJECT_UNLOCK(self);
  GST_ELEMENT_WARNING(self, RESOURCE, SETTINGS,
                      ("Each frame is copied once before the host can read it: %s. Give the "
                       "element DmaBufs of the virtio-gpu, or put it right behind an element that "
                       "takes its buffer pool, such as videoconvert.",
                       reason ? reason : "its memory is not the virtio-gpu's"),
                      (NULL));
}

static void warn_of_inline(GstVsockEnc *self) {
  g_autofree gchar *refusal = venc_session_dup_refusal(self->session);
  const gchar *reason = self->gpu_error ? self->gpu_error->message : refusal;
  /* Without the device the element cannot ask whether it renders. */
  const gchar *black =
      g_error_matches(self->gpu_error, VENC_GPU_ERROR, VENC_GPU_ERROR_DENIED)
          ? " DmaBufs that a virtio-gpu has rendered are black, because the CPU cannot read them."
          : "";
  GST_ELEMENT_WARNING(self, RESOURCE, SETTINGS,
                      ("Each frame's pixels go over the link to the host, which is slow: %s.%s",
                       reason ? reason : "the host takes no resource of the virtio-gpu", black),
                      (NULL));
}

/* Notifies the property, e.g. for gst-launch-1.0 -v, and warns once of each slow source. */
static void announce_source(GstVsockEnc *self) {
  GstVsockEncSource source = gst_vsock_enc_get_source(self);
  gboolean warned = self->warned_sources >> source & 1;
  if (source == self->notified_source) return;
  self->notified_source = source;
  self->warned_sources |= 1u << source;
  g_object_notify(G_OBJECT(self), "source");
  if (warned) return;
  if (source == GST_VSOCK_ENC_SOURCE_RESOURCE_COPY) warn_of_copies(self);
  if (source == GST_VSOCK_ENC_SOURCE_INLINE) warn_of_inline(self);
}

static GstFlowReturn push_packet(GstVsockEnc *self, VencOutput *output) {
  GstVideoEncoder *encoder = GST_VIDEO_ENCODER(self);
  GstVideoCodecFrame *frame = g_steal_pointer(&output->frame->user);

  announce_source(self);
  GST_VIDEO_ENCODER_STREAM_LOCK(self);
  GstFlowReturn flow = GST_FLOW_OK;
  GstBuffer *unit = take_unit(self, output, &flow);
  if (!unit) {
    gst_vsock_enc_drop_frame(self, frame);
    GST_VIDEO_ENCODER_STREAM_UNLOCK(self);
    return flow;
  }
  update_latency(self);
  GST_VIDEO_ENCODER_STREAM_UNLOCK(self);

  frame->output_buffer = unit;
  if (output->key)
    GST_VIDEO_CODEC_FRAME_SET_SYNC_POINT(frame);
  else
    GST_VIDEO_CODEC_FRAME_UNSET_SYNC_POINT(frame);
  flow = gst_video_encoder_finish_frame(encoder, frame);
  GST_VIDEO_ENCODER_STREAM_LOCK(self);
  gst_vsock_enc_release_drops(self);
  GST_VIDEO_ENCODER_STREAM_UNLOCK(self);
  return flow;
}

static GstFlowReturn handle_output(GstVsockEnc *self, VencOutput *output) {
  switch (output->kind) {
    case VENC_OUTPUT_PACKET:
      return push_packet(self, output);
    case VENC_OUTPUT_DROPPED:
      gst_vsock_enc_drop_frame(self, g_steal_pointer(&output->frame->user));
      return GST_FLOW_OK;
    case VENC_OUTPUT_LOST:
      GST_ELEMENT_WARNING(
          self, RESOURCE, READ,
          ("The encoder's host is away: %s. Trying to reach it again.", output->text), (NULL));
      return GST_FLOW_OK;
    case VENC_OUTPUT_BACK:
      GST_ELEMENT_INFO(self, RESOURCE, READ,
                       ("The encoder's host is back; the stream resumes with a key frame."),
                       (NULL));
      return GST_FLOW_OK;
    case VENC_OUTPUT_WARNING:
      GST_ELEMENT_WARNING(self, STREAM, ENCODE, ("The host reports: %s", output->text), (NULL));
      return GST_FLOW_OK;
    case VENC_OUTPUT_FAILED:
      if (output->code == VENC_ERROR_LOST)
        GST_ELEMENT_ERROR(self, RESOURCE, READ, ("The encoder's host is away: %s.", output->text),
                          (NULL));
      else
        GST_ELEMENT_ERROR(self, STREAM, ENCODE, ("The host cannot encode this: %s", output->text),
                          (NULL));
      return GST_FLOW_ERROR;
  }
  g_assert_not_reached();
}

static void output_loop(gpointer data) {
  GstVsockEnc *self = GST_VSOCK_ENC(data);
  VencOutput *output = venc_session_pop_output(self->session);
  GstFlowReturn flow = GST_FLOW_FLUSHING;

  if (output) {
    flow = handle_output(self, output);
    venc_output_free(output);
    venc_session_output_done(self->session);
  }
  if (flow == GST_FLOW_OK) return;
  GST_DEBUG_OBJECT(self, "output pauses: %s", gst_flow_get_name(flow));
  if (output) {
    set_downstream(self, flow);
    /* Downstream takes no more output, so nothing may wait for it. */
    venc_session_interrupt(self->session, TRUE);
  }
  gst_pad_pause_task(GST_VIDEO_ENCODER_SRC_PAD(self));
}

gboolean gst_vsock_enc_start_output(GstVsockEnc *self) {
  set_downstream(self, GST_FLOW_OK);
  venc_session_interrupt(self->session, FALSE);
  return gst_pad_start_task(GST_VIDEO_ENCODER_SRC_PAD(self), output_loop, self, NULL);
}

void gst_vsock_enc_pause_output(GstVsockEnc *self) {
  if (self->session) venc_session_interrupt(self->session, TRUE);
  gst_pad_pause_task(GST_VIDEO_ENCODER_SRC_PAD(self));
}

void gst_vsock_enc_stop_output(GstVsockEnc *self) {
  if (self->session) venc_session_interrupt(self->session, TRUE);
  gst_pad_stop_task(GST_VIDEO_ENCODER_SRC_PAD(self));
}
