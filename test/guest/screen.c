#include "screen.h"

#include <gst/video/video.h>

#include "fake-gpu.h"
#include "gstvirtgpusrc.h"
#include "virtgpusrc-properties.h"

/* Only a test that hangs takes as long as this. */
#define SECONDS 120

const FakeFramebuffer plain = {.width = WIDTH, .height = HEIGHT, .fourcc = XR24, .pitch = PITCH};
const FakeFramebuffer small_cursor = {.width = 4, .height = 4, .fourcc = AR24, .pitch = 16};

void screen_setup(Screen *f, gconstpointer data) {
  fake_gpu_reset();
  fake_kms_reset();
}

void screen_teardown(Screen *f, gconstpointer data) {
  if (f->pipeline) {
    gst_element_set_state(f->pipeline, GST_STATE_NULL);
    gst_clear_object(&f->bus);
    gst_clear_object(&f->source);
    gst_clear_object(&f->sink);
    gst_clear_object(&f->pipeline);
  }
  FakeKmsCounts counts = fake_kms_counts();
  FakeGpuCounts gpu = fake_gpu_counts();
  g_assert_cmpuint(counts.open_handles, ==, 0);
  g_assert_cmpuint(counts.mistakes, ==, 0);
  g_assert_cmpuint(gpu.open_handles, ==, 0);
}

void screen_show(guint number, guint32 id) {
  fake_kms_flip(number, id, 0, 0, WIDTH, HEIGHT);
}

void screen_make(Screen *f, const gchar *settings, const gchar *caps) {
  g_autofree gchar *text = g_strdup_printf(
      "virtgpusrc name=source %s ! %s ! fakesink name=sink sync=false async=false "
      "enable-last-sample=false signal-handoffs=true",
      settings, caps);
  g_autoptr(GError) error = NULL;
  f->pipeline = gst_parse_launch(text, &error);
  g_assert_no_error(error);
  f->source = gst_bin_get_by_name(GST_BIN(f->pipeline), "source");
  f->sink = gst_bin_get_by_name(GST_BIN(f->pipeline), "sink");
  f->bus = gst_element_get_bus(f->pipeline);
}

static void on_frame(GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer queue) {
  g_autoptr(GstCaps) caps = gst_pad_get_current_caps(pad);
  GstSample *sample = gst_sample_new(buffer, caps, NULL, NULL);
  g_async_queue_push(queue, sample);
}

GAsyncQueue *screen_play(Screen *f, const gchar *settings, const gchar *caps) {
  GAsyncQueue *queue = g_async_queue_new_full((GDestroyNotify)gst_sample_unref);
  screen_make(f, settings, caps);
  g_signal_connect_data(f->sink, "handoff", G_CALLBACK(on_frame), g_async_queue_ref(queue),
                        (GClosureNotify)(GCallback)g_async_queue_unref, 0);
  gst_element_set_state(f->pipeline, GST_STATE_PLAYING);
  return queue;
}

GstSample *screen_next(GAsyncQueue *queue) {
  GstSample *sample = g_async_queue_timeout_pop(queue, SECONDS * G_USEC_PER_SEC);
  g_assert_nonnull(sample);
  return sample;
}

guint32 screen_pixel_at(GstSample *sample, guint x, guint y) {
  GstBuffer *buffer = gst_sample_get_buffer(sample);
  GstVideoMeta *meta = gst_buffer_get_video_meta(buffer);
  gsize stride = meta ? (gsize)meta->stride[0] : WIDTH * 4, offset = meta ? meta->offset[0] : 0;
  GstMapInfo map;
  guint32 pixel;
  g_assert_true(gst_buffer_map(buffer, &map, GST_MAP_READ));
  memcpy(&pixel, map.data + offset + y * stride + x * 4, 4);
  gst_buffer_unmap(buffer, &map);
  return pixel & 0xffffffu;
}

GstSample *screen_until(GAsyncQueue *queue, guint32 pixel) {
  for (;;) {
    GstSample *sample = screen_next(queue);
    if (screen_pixel_at(sample, 0, 0) == pixel) return sample;
    gst_sample_unref(sample);
  }
}

GstMessage *screen_wait_message(Screen *f, GstMessageType type) {
  GstMessage *message = gst_bus_timed_pop_filtered(f->bus, SECONDS * GST_SECOND, type);
  g_assert_nonnull(message);
  return message;
}

void screen_assert_error(Screen *f, GQuark domain, gint code, const gchar *part) {
  g_autoptr(GError) error = NULL;
  GstMessage *message = screen_wait_message(f, GST_MESSAGE_ERROR);
  gst_message_parse_error(message, &error, NULL);
  gst_message_unref(message);
  g_assert_error(error, domain, code);
  g_assert_nonnull(strstr(error->message, part));
}

int screen_main(int argc, char **argv, void (*add)(void)) {
  gst_init(&argc, &argv);
  g_test_init(&argc, &argv, NULL);
  GstVirtgpuSrcClass *klass = g_type_class_ref(GST_TYPE_VIRTGPU_SRC);
  klass->kms_ops = &fake_kms;
  klass->gpu_ops = &fake_gpu;
  gst_element_register(NULL, VIRTGPUSRC_FACTORY, GST_RANK_NONE, GST_TYPE_VIRTGPU_SRC);
  add();
  int status = g_test_run();
  g_type_class_unref(klass);
  fake_kms_reset();
  gst_deinit(); /* has GST_TRACERS=leaks report */
  return status;
}
