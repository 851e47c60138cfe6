/*
 * SECTION:element-vsockenc
 *
 * Encodes video on the host of a virtual machine. The pixels stay in the guest's memory: the
 * element sends the id of their virtio-gpu resource, and the host returns H.264 or H.265.
 *
 * Three threads work together. The streaming thread submits frames (gstvsockenc-input.c), the
 * session's I/O thread exchanges messages with the host (session*.c), and the source pad's task
 * pushes the outputs (gstvsockenc-output.c). They share the session only.
 */
#include "gstvsockenc.h"

#include <string.h>

#include "gstvsockenc-private.h"

#define SOFTWARE "vsockenc-gst/" PACKAGE_VERSION

GST_DEBUG_CATEGORY(gst_vsock_enc_debug);

G_DEFINE_TYPE_WITH_CODE(GstVsockEnc, gst_vsock_enc, GST_TYPE_VIDEO_ENCODER,
                        GST_DEBUG_CATEGORY_INIT(gst_vsock_enc_debug, VSOCKENC_FACTORY, 0,
                                                VSOCKENC_LONG_NAME))

/* Reports why the host cannot be reached, with GStreamer's nearest code. */
static void post_open_error(GstVsockEnc *self, const GError *error) {
  const gint code = error->code == VENC_ERROR_NOT_FOUND    ? GST_RESOURCE_ERROR_NOT_FOUND
                    : error->code == VENC_ERROR_BUSY       ? GST_RESOURCE_ERROR_BUSY
                    : error->code == VENC_ERROR_PERMISSION ? GST_RESOURCE_ERROR_NOT_AUTHORIZED
                                                           : GST_RESOURCE_ERROR_OPEN_READ_WRITE;
  const gchar *what =
      code == GST_RESOURCE_ERROR_OPEN_READ_WRITE ? "No answer from" : "Cannot reach";
  gst_element_message_full(GST_ELEMENT(self), GST_MESSAGE_ERROR, GST_RESOURCE_ERROR, code,
                           g_strdup_printf("%s the host: %s.", what, error->message), NULL,
                           __FILE__, GST_FUNCTION, __LINE__);
}

/* Hides the session from readers of properties, then frees it. */
static gboolean gst_vsock_enc_close(GstVideoEncoder *encoder) {
  GstVsockEnc *self = GST_VSOCK_ENC(encoder);

  self->notified_source = GST_VSOCK_ENC_SOURCE_NONE;
  self->warned_sources = 0;
  GST_OBJECT_LOCK(self);
  VencSession *session = g_steal_pointer(&self->session);
  GST_OBJECT_UNLOCK(self);
  venc_buffers_free(g_steal_pointer(&self->buffers));
  venc_session_free(session);
  gst_clear_object(&self->allocator);
  g_clear_pointer(&self->gpu, venc_gpu_unref);
  g_clear_error(&self->gpu_error);
  return TRUE;
}

static gboolean gst_vsock_enc_open(GstVideoEncoder *encoder) {
  GstVsockEnc *self = GST_VSOCK_ENC(encoder);
  GstVsockEncSettings settings;
  g_autoptr(GError) error = NULL;

  GST_OBJECT_LOCK(self);
  settings = self->settings;
  venc_settings_own_strings(vsockenc_properties, &settings);
  gboolean vsock = self->vsock;
  self->frames_in = self->frames_copied = self->frames_late = 0;
  self->n_refused_modifiers = 0;
  self->warned_bitrate = 0;
  GST_OBJECT_UNLOCK(self);

  const VencAddress address = {
      .device = settings.device,
      .socket_path = settings.socket_path,
      .tcp_host = settings.tcp_host,
      .tcp_port = settings.tcp_port,
      .vsock = vsock,
      .cid = settings.cid,
      .port = settings.port,
  };
  VencSession *session = venc_session_new(&address, SOFTWARE);
  gboolean opened = venc_session_open(session, settings.connect_timeout, &error);
  venc_settings_clear(vsockenc_properties, &settings);
  if (!opened) {
    venc_session_free(session);
    post_open_error(self, error);
    return FALSE;
  }
  /* Without one the pixels go over the link. */
  self->gpu =
      venc_gpu_new(G_TYPE_INSTANCE_GET_CLASS(self, GST_TYPE_VSOCK_ENC, GstVsockEncClass)->gpu_ops,
                   &self->gpu_error);
  self->buffers = venc_buffers_new(self->gpu, session);
  if (self->gpu) {
    self->allocator = venc_allocator_new(self->gpu);
    GST_INFO_OBJECT(self, "virtio-gpu at %s", self->gpu->node);
  }
  GST_OBJECT_LOCK(self);
  self->session = session;
  GST_OBJECT_UNLOCK(self);
  return TRUE;
}

static gboolean gst_vsock_enc_start(GstVideoEncoder *encoder) {
  GstVsockEnc *self = GST_VSOCK_ENC(encoder);
  gst_vsock_enc_reset_input(self);
  return gst_vsock_enc_start_output(self);
}

static gboolean gst_vsock_enc_stop(GstVideoEncoder *encoder) {
  GstVsockEnc *self = GST_VSOCK_ENC(encoder);
  gst_vsock_enc_stop_output(self);
  venc_session_flush(self->session);
  venc_buffers_clear(self->buffers);
  gst_vsock_enc_reset_input(self);
  return TRUE;
}

static GstFlowReturn gst_vsock_enc_finish(GstVideoEncoder *encoder) {
  GstVsockEnc *self = GST_VSOCK_ENC(encoder);
  GstFlowReturn flow = gst_vsock_enc_drain(self);
  gst_vsock_enc_release_drops(self);
  return flow;
}

static gboolean gst_vsock_enc_flush(GstVideoEncoder *encoder) {
  GstVsockEnc *self = GST_VSOCK_ENC(encoder);
  venc_session_flush(self->session);
  g_queue_clear_full(&self->drops, (GDestroyNotify)gst_video_codec_frame_unref);
  self->last_pts = GST_CLOCK_TIME_NONE;
  return TRUE;
}

static gboolean gst_vsock_enc_sink_event(GstVideoEncoder *encoder, GstEvent *event) {
  GstVsockEnc *self = GST_VSOCK_ENC(encoder);
  GstEventType type = GST_EVENT_TYPE(event);
  g_autoptr(GstCaps) caps = NULL;

  if (type == GST_EVENT_FLUSH_START && self->session) {
    venc_session_interrupt(self->session, TRUE);
  } else if (type == GST_EVENT_FLUSH_STOP) {
    /* Downstream is flushing, so a push that the task is in returns. */
    gst_vsock_enc_pause_output(self);
  } else if (type == GST_EVENT_CAPS) {
    GstCaps *borrowed;
    gst_event_parse_caps(event, &borrowed);
    caps = gst_caps_ref(borrowed);
  }
  gboolean result = GST_VIDEO_ENCODER_CLASS(gst_vsock_enc_parent_class)->sink_event(encoder, event);
  if (type == GST_EVENT_FLUSH_STOP && self->session) {
    gst_vsock_enc_start_output(self);
  } else if (caps && result) {
    /* The base class ignores a change of drm-format alone. */
    GST_VIDEO_ENCODER_STREAM_LOCK(self);
    result = gst_vsock_enc_update_caps(self, caps);
    GST_VIDEO_ENCODER_STREAM_UNLOCK(self);
  }
  return result;
}

static gboolean gst_vsock_enc_src_query(GstVideoEncoder *encoder, GstQuery *query) {
  if (GST_QUERY_TYPE(query) == GST_QUERY_CAPS &&
      gst_vsock_enc_answer_src_caps(GST_VSOCK_ENC(encoder), query))
    return TRUE;
  return GST_VIDEO_ENCODER_CLASS(gst_vsock_enc_parent_class)->src_query(encoder, query);
}

#if GST_CHECK_VERSION(1, 24, 0)
static gboolean gst_vsock_enc_sink_query(GstVideoEncoder *encoder, GstQuery *query) {
  gboolean done = GST_VIDEO_ENCODER_CLASS(gst_vsock_enc_parent_class)->sink_query(encoder, query);
  if (done && GST_QUERY_TYPE(query) == GST_QUERY_ACCEPT_CAPS)
    gst_vsock_enc_explain_refusal(GST_VSOCK_ENC(encoder), query);
  return done;
}
#endif

static GstStateChangeReturn gst_vsock_enc_change_state(GstElement *element,
                                                       GstStateChange transition) {
  GstVsockEnc *self = GST_VSOCK_ENC(element);
  /* The parent deactivates the pads, which waits for the threads in them. */
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY) venc_session_interrupt(self->session, TRUE);
  return GST_ELEMENT_CLASS(gst_vsock_enc_parent_class)->change_state(element, transition);
}

static void gst_vsock_enc_set_property(GObject *object, guint id, const GValue *value,
                                       GParamSpec *spec) {
  GstVsockEnc *self = GST_VSOCK_ENC(object);
  GST_OBJECT_LOCK(self);
  gboolean known = venc_settings_set(vsockenc_properties, &self->settings, id, value);
  if (known) g_atomic_int_set(&self->settings_changed, TRUE);
  if (id == VSOCKENC_PROP_CID || id == VSOCKENC_PROP_PORT) self->vsock = TRUE;
  GST_OBJECT_UNLOCK(self);
  if (!known) G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
}

GstVsockEncSource gst_vsock_enc_get_source(GstVsockEnc *self) {
  vsockenc_SourceTier tier = vsockenc_SourceTier_SOURCE_TIER_UNSPECIFIED;
  gboolean copied = FALSE;

  GST_OBJECT_LOCK(self);
  if (self->session) tier = venc_session_tier(self->session, &copied);
  GST_OBJECT_UNLOCK(self);
  switch (tier) {
    case vsockenc_SourceTier_RESOURCE:
      return copied ? GST_VSOCK_ENC_SOURCE_RESOURCE_COPY : GST_VSOCK_ENC_SOURCE_RESOURCE;
    case vsockenc_SourceTier_RESOURCE_GATHER:
      return GST_VSOCK_ENC_SOURCE_RESOURCE_GATHER;
    case vsockenc_SourceTier_INLINE:
      return GST_VSOCK_ENC_SOURCE_INLINE;
    case vsockenc_SourceTier_RESOURCE_READ:
      return GST_VSOCK_ENC_SOURCE_RESOURCE_READ;
    default:
      return GST_VSOCK_ENC_SOURCE_NONE;
  }
}

static GstStructure *make_stats(GstVsockEnc *self) {
  static const gchar *const stages[VENC_STAGES] = {"queue-us", "convert-us", "encode-us",
                                                   "round-trip-us"};
  VencStatistics stats = {0};
  g_autofree gchar *transport = NULL;
  g_autoptr(GEnumClass) sources = g_type_class_ref(GST_TYPE_VSOCK_ENC_SOURCE);
  const gchar *tier = g_enum_get_value(sources, (gint)gst_vsock_enc_get_source(self))->value_nick;

  GST_OBJECT_LOCK(self);
  guint64 frames_in = self->frames_in, copied = self->frames_copied, late = self->frames_late;
  if (self->session) {
    venc_session_get_statistics(self->session, &stats);
    transport = venc_session_dup_transport(self->session);
  }
  GST_OBJECT_UNLOCK(self);
  GstStructure *structure = gst_structure_new(
      "vsockenc-stats", "frames-in", G_TYPE_UINT64, frames_in, "frames-encoded", G_TYPE_UINT64,
      stats.packets, "key-frames", G_TYPE_UINT64, stats.key_frames, "dropped-newer", G_TYPE_UINT64,
      stats.dropped[VENC_DROPPED_NEWER], "dropped-late", G_TYPE_UINT64, late,
      "dropped-disconnected", G_TYPE_UINT64, stats.dropped[VENC_DROPPED_DISCONNECTED],
      "dropped-encoder", G_TYPE_UINT64, stats.dropped[VENC_DROPPED_ENCODER], "dropped-flushed",
      G_TYPE_UINT64, stats.dropped[VENC_DROPPED_FLUSHED], "frames-copied", G_TYPE_UINT64, copied,
      "frames-inline", G_TYPE_UINT64, stats.frames_inline, "bytes-sent", G_TYPE_UINT64,
      stats.bytes_sent, "bytes-received", G_TYPE_UINT64, stats.bytes_received, "frame-bytes-sent",
      G_TYPE_UINT64, stats.frame_bytes_sent, "pixel-bytes-sent", G_TYPE_UINT64,
      stats.pixel_bytes_sent, "sessions", G_TYPE_UINT64, stats.sessions, "attaches", G_TYPE_UINT64,
      stats.attaches, "attached", G_TYPE_UINT, stats.attached, "runs", G_TYPE_UINT, stats.runs,
      "tier", G_TYPE_STRING, tier, "transport", G_TYPE_STRING, transport ? transport : "", "host",
      G_TYPE_STRING, stats.host, "encoder", G_TYPE_STRING, stats.encoder, NULL);
  for (guint i = 0; i < VENC_STAGES; i++) {
    g_autofree gchar *p50 = g_strconcat(stages[i], "-p50", NULL);
    g_autofree gchar *p95 = g_strconcat(stages[i], "-p95", NULL);
    gst_structure_set(structure, p50, G_TYPE_UINT, stats.p50_us[i], p95, G_TYPE_UINT,
                      stats.p95_us[i], NULL);
  }
  return structure;
}

static void gst_vsock_enc_get_property(GObject *object, guint id, GValue *value, GParamSpec *spec) {
  GstVsockEnc *self = GST_VSOCK_ENC(object);

  GST_OBJECT_LOCK(self);
  gboolean known = venc_settings_get(vsockenc_properties, &self->settings, id, value);
  GST_OBJECT_UNLOCK(self);
  if (known) return;
  switch (id) {
    case VSOCKENC_PROP_SOURCE:
      g_value_set_enum(value, (gint)gst_vsock_enc_get_source(self));
      break;
    case VSOCKENC_PROP_STATS:
      g_value_take_boxed(value, make_stats(self));
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
  }
}

static void gst_vsock_enc_finalize(GObject *object) {
  GstVsockEnc *self = GST_VSOCK_ENC(object);
  venc_settings_clear(vsockenc_properties, &self->settings);
  g_free(self->copy_reason);
  G_OBJECT_CLASS(gst_vsock_enc_parent_class)->finalize(object);
}

static void gst_vsock_enc_class_init(GstVsockEncClass *klass) {
  GObjectClass *object_class = G_OBJECT_CLASS(klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS(klass);
  GstVideoEncoderClass *encoder_class = GST_VIDEO_ENCODER_CLASS(klass);
  g_autoptr(GstCaps) sink = gst_vsock_enc_sink_caps();
  g_autoptr(GstCaps) src = gst_vsock_enc_src_caps();

  klass->gpu_ops = &venc_gpu_kernel;
  object_class->set_property = gst_vsock_enc_set_property;
  object_class->get_property = gst_vsock_enc_get_property;
  object_class->finalize = gst_vsock_enc_finalize;
  venc_properties_install(object_class, vsockenc_properties);

  element_class->change_state = GST_DEBUG_FUNCPTR(gst_vsock_enc_change_state);
  gst_element_class_set_static_metadata(element_class, VSOCKENC_LONG_NAME, VSOCKENC_KLASS,
                                        VSOCKENC_DESCRIPTION, VSOCKENC_AUTHOR);
  gst_element_class_add_pad_template(
      element_class, gst_pad_template_new("sink", GST_PAD_SINK, GST_PAD_ALWAYS, sink));
  gst_element_class_add_pad_template(element_class,
                                     gst_pad_template_new("src", GST_PAD_SRC, GST_PAD_ALWAYS, src));

  encoder_class->open = GST_DEBUG_FUNCPTR(gst_vsock_enc_open);
  encoder_class->close = GST_DEBUG_FUNCPTR(gst_vsock_enc_close);
  encoder_class->start = GST_DEBUG_FUNCPTR(gst_vsock_enc_start);
  encoder_class->stop = GST_DEBUG_FUNCPTR(gst_vsock_enc_stop);
  encoder_class->getcaps = GST_DEBUG_FUNCPTR(gst_vsock_enc_getcaps);
  encoder_class->src_query = GST_DEBUG_FUNCPTR(gst_vsock_enc_src_query);
#if GST_CHECK_VERSION(1, 24, 0)
  encoder_class->sink_query = GST_DEBUG_FUNCPTR(gst_vsock_enc_sink_query);
#endif
  encoder_class->set_format = GST_DEBUG_FUNCPTR(gst_vsock_enc_set_format);
  encoder_class->handle_frame = GST_DEBUG_FUNCPTR(gst_vsock_enc_handle_frame);
  encoder_class->finish = GST_DEBUG_FUNCPTR(gst_vsock_enc_finish);
  encoder_class->flush = GST_DEBUG_FUNCPTR(gst_vsock_enc_flush);
  encoder_class->sink_event = GST_DEBUG_FUNCPTR(gst_vsock_enc_sink_event);
  encoder_class->propose_allocation = GST_DEBUG_FUNCPTR(gst_vsock_enc_propose_allocation);
}

static void gst_vsock_enc_init(GstVsockEnc *self) {
  venc_settings_init(vsockenc_properties, &self->settings);
  g_queue_init(&self->drops);
  self->last_pts = self->set_latency = GST_CLOCK_TIME_NONE;
}
