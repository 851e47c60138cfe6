/*
 * The source pad's task, which pushes the host's answers downstream: not the streaming thread,
 * because output must not wait for the next input frame; and not the session's I/O thread, which
 * must never wait for the pipeline.
 */
#include "gstvsockenc-private.h"

/* Duration of a frame without a frame rate, for the latency only. */
#define ASSUMED_DURATION (GST_SECOND / 30)
/* Frames whose drop may be deferred; they hold no pixels. */
#define MAX_DROPS 256u

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
    gst_vsock_enc_set_bare_caps(self);
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
  /* The element cannot know whether the CPU or the GPU drew a DmaBuf. */
  const gchar *black =
      self->gpu && venc_gpu_is_3d(self->gpu)
          ? " This virtio-gpu renders on the host: DmaBufs that it has drawn are black, "
            "because the CPU cannot read them."
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
  GstBuffer *unit = gst_vsock_enc_take_unit(self, output, &flow);
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
