/*
 * What comes from the host, pushed downstream.
 *
 * A task of the source pad does it: not the streaming thread, because output must not wait for the
 * next input frame; and not the session's I/O thread, which must never wait for the pipeline.
 */
#include "gstvsockenc-private.h"

/* Without a frame rate a frame is taken to last so long, for the latency alone. */
#define ASSUMED_DURATION (GST_SECOND / 30)
/* Frames whose dropping may wait; they have no pixels any more. */
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
 * 1.26 it sets the frame's events aside and then pushes caps ahead of the stream-start among them.
 * So the first frames' drops wait for the first access unit.
 */
void gst_vsock_enc_drop_frame(GstVsockEnc *self, GstVideoCodecFrame *frame) {
  GST_VIDEO_ENCODER_STREAM_LOCK(self);
  g_queue_push_tail(&self->drops, frame);
  if (self->has_caps || self->drops.length > MAX_DROPS) gst_vsock_enc_release_drops(self);
  GST_VIDEO_ENCODER_STREAM_UNLOCK(self);
}

/* A frame takes as long as those that were seen to be with the host; only ever raised. */
static void update_latency(GstVsockEnc *self) {
  const GstVideoInfo *info = &self->picture.info;
  GstClockTime duration = info->fps_n > 0
                              ? gst_util_uint64_scale_int(GST_SECOND, info->fps_d, info->fps_n)
                              : ASSUMED_DURATION;
  GstClockTime latency = duration * MAX(self->max_pending, 1);
  if (self->told_latency != GST_CLOCK_TIME_NONE && latency <= self->told_latency) return;
  self->told_latency = latency;
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
  /* Whether a DmaBuf was drawn by the CPU or by the GPU, nobody tells. */
  const gchar *black = self->gpu && venc_gpu_is_3d(self->gpu)
                           ? " This virtio-gpu renders on the host: DmaBufs that it has drawn are "
                             "black to the CPU, which reads them for that."
                           : "";
  GST_ELEMENT_WARNING(self, RESOURCE, SETTINGS,
                      ("Each frame's pixels go over the link to the host, which is slow: %s.%s",
                       reason ? reason : "the host takes no resource of the virtio-gpu", black),
                      (NULL));
}

/* Tells whoever watches the property, e.g. gst-launch-1.0 -v, and warns of a slow way, once. */
static void announce_source(GstVsockEnc *self) {
  GstVsockEncSource source = gst_vsock_enc_get_source(self);
  gboolean warned = self->warned_sources >> source & 1;
  if (source == self->told_source) return;
  self->told_source = source;
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
                       ("The encoder's host is back; the stream goes on with a key frame."),
                       (NULL));
      return GST_FLOW_OK;
    case VENC_OUTPUT_WARNING:
      GST_ELEMENT_WARNING(self, STREAM, ENCODE, ("The host says: %s", output->text), (NULL));
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
    /* Nobody takes what is still to come: whoever waits for it must not. */
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
