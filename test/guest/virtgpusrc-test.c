/* The element virtgpusrc in front of a screen that the test holds (fake-kms.h). */
#include <gst/allocators/allocators.h>
#include <gst/check/gstharness.h>
#include <gst/video/video.h>
#include <sys/stat.h>

#include "fake-gpu.h"
#include "fake-kms.h"
#include "gstvirtgpusrc.h"
#include "virtgpusrc-properties.h"

#define XR24 0x34325258u
#define AR24 0x34325241u
#define NV12 0x3231564eu
#define WIDTH 64u
#define HEIGHT 32u
#define PITCH (WIDTH * 4)
/* Nothing takes as long as this. */
#define SECONDS 20
/* Frames as fast as the loop goes, so that no test waits for one. */
#define DMABUF "video/x-raw(memory:DMABuf),format=BGRx,framerate=1000/1"
#define SYSTEM "video/x-raw,format=BGRx,framerate=1000/1"

static const FakeFramebuffer plain = {
    .width = WIDTH, .height = HEIGHT, .fourcc = XR24, .pitch = PITCH};
static const FakeFramebuffer small_cursor = {.width = 4, .height = 4, .fourcc = AR24, .pitch = 16};

typedef struct {
  GstElement *pipeline, *source, *sink;
  GstBus *bus;
} Fixture;

static void setup(Fixture *f, gconstpointer data) {
  (void)f;
  (void)data;
  fake_gpu_reset();
  fake_kms_reset();
}

static void teardown(Fixture *f, gconstpointer data) {
  FakeKmsCounts counts;
  FakeGpuCounts gpu;
  (void)data;
  if (f->pipeline) {
    gst_element_set_state(f->pipeline, GST_STATE_NULL);
    gst_clear_object(&f->bus);
    gst_clear_object(&f->source);
    gst_clear_object(&f->sink);
    gst_clear_object(&f->pipeline);
  }
  fake_kms_get_counts(&counts);
  fake_gpu_get_counts(&gpu);
  g_assert_cmpuint(counts.open_handles, ==, 0);
  g_assert_cmpuint(counts.mistakes, ==, 0);
  g_assert_cmpuint(gpu.open_handles, ==, 0);
}

/* The screen's full picture of framebuffer `number`, under an id. */
static void show(guint number, guint32 id) {
  fake_kms_flip(number, id, 0, 0, WIDTH, HEIGHT);
}

/* The element with properties in gst-launch's words, and caps behind it; playing. */
static void play(Fixture *f, const gchar *settings, const gchar *caps) {
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
  (void)sink;
  g_async_queue_push(queue, sample);
}

static GAsyncQueue *start(Fixture *f, const gchar *settings, const gchar *caps) {
  GAsyncQueue *queue = g_async_queue_new_full((GDestroyNotify)gst_sample_unref);
  play(f, settings, caps);
  g_signal_connect_data(f->sink, "handoff", G_CALLBACK(on_frame), g_async_queue_ref(queue),
                        (GClosureNotify)(GCallback)g_async_queue_unref, 0);
  gst_element_set_state(f->pipeline, GST_STATE_PLAYING);
  return queue;
}

static GstSample *next(GAsyncQueue *queue) {
  GstSample *sample = g_async_queue_timeout_pop(queue, SECONDS * G_USEC_PER_SEC);
  g_assert_nonnull(sample);
  return sample;
}

/* One pixel of a frame, by its VideoMeta. */
static guint32 pixel_at(GstSample *sample, guint x, guint y) {
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

/* Takes frames until one has `pixel` in its upper left corner. */
static GstSample *until(GAsyncQueue *queue, guint32 pixel) {
  for (;;) {
    GstSample *sample = next(queue);
    if (pixel_at(sample, 0, 0) == pixel) return sample;
    gst_sample_unref(sample);
  }
}

static ino_t inode_of(GstSample *sample) {
  GstMemory *memory = gst_buffer_peek_memory(gst_sample_get_buffer(sample), 0);
  struct stat status;
  g_assert_true(gst_is_dmabuf_memory(memory));
  g_assert_cmpint(fstat(gst_dmabuf_memory_get_fd(memory), &status), ==, 0);
  return status.st_ino;
}

static GstMessage *wait_message(Fixture *f, GstMessageType type) {
  GstMessage *message = gst_bus_timed_pop_filtered(f->bus, SECONDS * GST_SECOND, type);
  g_assert_nonnull(message);
  return message;
}

static void assert_error(Fixture *f, GQuark domain, gint code, const gchar *part) {
  g_autoptr(GError) error = NULL;
  GstMessage *message = wait_message(f, GST_MESSAGE_ERROR);
  gst_message_parse_error(message, &error, NULL);
  gst_message_unref(message);
  g_assert_error(error, domain, code);
  g_assert_nonnull(strstr(error->message, part));
}

/* Frames are the framebuffers' own memory, the same object each time that a buffer is shown. */
static void test_shares(Fixture *f, gconstpointer data) {
  (void)data;
  guint a = fake_kms_create(&plain, 0x111111), b = fake_kms_create(&plain, 0x222222);
  FakeKmsCounts counts;
  show(a, 42);
  g_autoptr(GAsyncQueue) queue = start(f, "keepalive-time=0", DMABUF);
  g_autoptr(GstSample) first = next(queue);
  g_assert_cmphex(pixel_at(first, WIDTH - 1, HEIGHT - 1), ==, 0x111111);
  show(b, 43);
  g_autoptr(GstSample) second = next(queue);
  g_assert_cmphex(pixel_at(second, 0, 0), ==, 0x222222);
  show(a, 42);
  g_autoptr(GstSample) third = next(queue);
  g_assert_cmpuint(inode_of(third), ==, inode_of(first));
  g_assert_cmpuint(inode_of(second), !=, inode_of(first));
  g_assert_true(gst_buffer_peek_memory(gst_sample_get_buffer(third), 0) ==
                gst_buffer_peek_memory(gst_sample_get_buffer(first), 0));
  g_assert_cmpuint(GST_BUFFER_PTS(gst_sample_get_buffer(first)), <,
                   GST_BUFFER_PTS(gst_sample_get_buffer(second)));
  fake_kms_get_counts(&counts);
  g_assert_cmpuint(counts.exports, ==, 2);
}

/* The kernel gives the id of a framebuffer that is gone to the next one. */
static void test_reused_id(Fixture *f, gconstpointer data) {
  (void)data;
  guint a = fake_kms_create(&plain, 0x111111), b = fake_kms_create(&plain, 0x222222);
  show(a, 42);
  g_autoptr(GAsyncQueue) queue = start(f, "keepalive-time=0", DMABUF);
  g_autoptr(GstSample) first = next(queue);
  show(b, 42);
  g_autoptr(GstSample) second = next(queue);
  g_assert_cmphex(pixel_at(first, 0, 0), ==, 0x111111);
  g_assert_cmphex(pixel_at(second, 0, 0), ==, 0x222222);
}

/* Whether frames come although nobody flips; the property `pacing` decides, or damage. */
static void test_still(Fixture *f, gconstpointer data) {
  const gchar *settings = data;
  show(fake_kms_create(&plain, 0x111111), 42);
  g_autoptr(GAsyncQueue) queue = start(f, settings, DMABUF);
  for (guint i = 0; i < 5; i++) gst_sample_unref(next(queue));
}

/* What cannot be seen may have changed. */
static void test_blind(Fixture *f, gconstpointer data) {
  fake_kms_set_blind();
  test_still(f, data);
}

/* A still screen makes no frames, however often it is looked at. */
static void test_idle(Fixture *f, gconstpointer data) {
  FakeKmsCounts counts, later;
  (void)data;
  show(fake_kms_create(&plain, 0x111111), 42);
  g_autoptr(GAsyncQueue) queue = start(f, "keepalive-time=0", DMABUF);
  gst_sample_unref(next(queue));
  fake_kms_get_counts(&counts);
  do {
    g_usleep(1000);
    fake_kms_get_counts(&later);
  } while (later.looks < counts.looks + 10);
  g_assert_cmpint(g_async_queue_length(queue), ==, 0);
}

/* Drawing into the shown buffer is seen by its damage, and is followed by more than one frame. */
static void test_front_buffer(Fixture *f, gconstpointer data) {
  (void)data;
  guint a = fake_kms_create(&plain, 0x111111);
  show(a, 42);
  g_autoptr(GAsyncQueue) queue = start(f, "keepalive-time=0", DMABUF);
  gst_sample_unref(next(queue));
  fake_kms_fill(a, 0x333333);
  fake_kms_damage();
  g_autoptr(GstSample) sample = next(queue);
  g_assert_cmphex(pixel_at(sample, 0, 0), ==, 0x333333);
  for (guint i = 0; i < 5; i++) gst_sample_unref(next(queue));
}

/* Several outputs may show parts of one large framebuffer, as X11 has it. */
static void test_part(Fixture *f, gconstpointer data) {
  const FakeFramebuffer large = {
      .width = 2 * WIDTH, .height = 2 * HEIGHT, .fourcc = XR24, .pitch = 2 * PITCH, .offset = 64};
  (void)data;
  fake_kms_flip(fake_kms_create(&large, 0x111111), 42, WIDTH, HEIGHT, WIDTH, HEIGHT);
  g_autoptr(GAsyncQueue) queue = start(f, "", DMABUF);
  g_autoptr(GstSample) sample = next(queue);
  const GstStructure *caps = gst_caps_get_structure(gst_sample_get_caps(sample), 0);
  GstVideoMeta *meta = gst_buffer_get_video_meta(gst_sample_get_buffer(sample));
  gint width = 0;
  g_assert_true(gst_structure_get_int(caps, "width", &width));
  g_assert_cmpint(width, ==, WIDTH);
  g_assert_cmpuint(meta->offset[0], ==, 64 + HEIGHT * 2 * PITCH + WIDTH * 4);
  g_assert_cmpint(meta->stride[0], ==, 2 * PITCH);
}

/* A compositor that describes more than its buffer has must not make anybody read beyond it. */
static void test_too_large(Fixture *f, gconstpointer data) {
  (void)data;
  fake_kms_flip(fake_kms_create(&plain, 0), 42, 0, 1, WIDTH, HEIGHT);
  g_autoptr(GAsyncQueue) queue = start(f, "", DMABUF);
  assert_error(f, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_READ, "smaller than what it shows");
}

static void test_system_memory(Fixture *f, gconstpointer data) {
  const FakeFramebuffer padded = {
      .width = WIDTH, .height = HEIGHT, .fourcc = XR24, .pitch = PITCH + 256};
  (void)data;
  show(fake_kms_create(&padded, 0x123456), 42);
  g_autoptr(GAsyncQueue) queue = start(f, "", SYSTEM);
  g_autoptr(GstSample) sample = next(queue);
  g_assert_false(gst_is_dmabuf_memory(gst_buffer_peek_memory(gst_sample_get_buffer(sample), 0)));
  g_assert_cmphex(pixel_at(sample, WIDTH - 1, HEIGHT - 1), ==, 0x123456);
}

/* Half transparent white (premultiplied) over black; only what is on the screen is drawn. */
static void test_cursor(Fixture *f, gconstpointer data) {
  (void)data;
  show(fake_kms_create(&plain, 0), 42);
  guint pointer = fake_kms_create(&small_cursor, 0x80808080);
  fake_kms_set_pixel(pointer, 2, 2, 0xffff0000);
  fake_kms_set_pixel(pointer, 1, 0, 0xff00ff00);
  fake_kms_set_cursor(pointer, 50, -2, -2, 4);
  g_autoptr(GAsyncQueue) queue = start(f, "cursor=true keepalive-time=0", DMABUF);
  g_autoptr(GstSample) sample = next(queue);
  g_assert_true(gst_is_dmabuf_memory(gst_buffer_peek_memory(gst_sample_get_buffer(sample), 0)));
  g_assert_cmphex(pixel_at(sample, 0, 0), ==, 0xff0000);
  g_assert_cmphex(pixel_at(sample, 1, 1), ==, 0x808080);
  g_assert_cmphex(pixel_at(sample, 2, 0), ==, 0);
  g_assert_cmphex(pixel_at(sample, 0, 2), ==, 0);
  fake_kms_set_cursor(pointer, 50, (gint32)WIDTH - 2, (gint32)HEIGHT - 1, 4);
  g_autoptr(GstSample) moved = next(queue);
  g_assert_cmphex(pixel_at(moved, WIDTH - 2, HEIGHT - 1), ==, 0x808080);
  g_assert_cmphex(pixel_at(moved, WIDTH - 1, HEIGHT - 1), ==, 0x00ff00);
  g_assert_cmphex(pixel_at(moved, 1, 1), ==, 0);
}

/* Without a cursor on the screen there is nothing to draw, and so no copy. */
static void test_hidden_cursor(Fixture *f, gconstpointer data) {
  FakeKmsCounts counts;
  (void)data;
  show(fake_kms_create(&plain, 0x111111), 42);
  fake_kms_set_cursor(fake_kms_create(&small_cursor, 0xffffffff), 50, (gint32)WIDTH, 0, 4);
  g_autoptr(GAsyncQueue) queue = start(f, "cursor=true", DMABUF);
  g_autoptr(GstSample) sample = next(queue);
  g_assert_cmpuint(gst_buffer_get_size(gst_sample_get_buffer(sample)), ==, PITCH * HEIGHT);
  g_assert_true(GST_MEMORY_IS_READONLY(gst_buffer_peek_memory(gst_sample_get_buffer(sample), 0)));
  fake_kms_get_counts(&counts);
  g_assert_cmpuint(counts.exports, ==, 2);
}

static void test_mode_change(Fixture *f, gconstpointer data) {
  const FakeFramebuffer larger = {
      .width = 2 * WIDTH, .height = 2 * HEIGHT, .fourcc = XR24, .pitch = 2 * PITCH};
  gint width = 0, height = 0;
  (void)data;
  show(fake_kms_create(&plain, 0x111111), 42);
  g_autoptr(GAsyncQueue) queue = start(f, "", "video/x-raw(memory:DMABuf)");
  gst_sample_unref(until(queue, 0x111111));
  fake_kms_flip(fake_kms_create(&larger, 0x222222), 42, 0, 0, 2 * WIDTH, 2 * HEIGHT);
  g_autoptr(GstSample) sample = until(queue, 0x222222);
  const GstStructure *caps = gst_caps_get_structure(gst_sample_get_caps(sample), 0);
  g_assert_true(gst_structure_get_int(caps, "width", &width));
  g_assert_true(gst_structure_get_int(caps, "height", &height));
  g_assert_cmpint(width, ==, 2 * WIDTH);
  g_assert_cmpint(height, ==, 2 * HEIGHT);
}

/* The last frame is repeated while the screen is off, with one warning. */
static void test_off(Fixture *f, gconstpointer data) {
  guint a = fake_kms_create(&plain, 0x111111), b = fake_kms_create(&plain, 0x222222);
  (void)data;
  show(a, 42);
  g_autoptr(GAsyncQueue) queue = start(f, "keepalive-time=1", DMABUF);
  gst_sample_unref(next(queue));
  fake_kms_off();
  gst_message_unref(wait_message(f, GST_MESSAGE_WARNING));
  while (g_async_queue_length(queue) > 0) gst_sample_unref(next(queue));
  g_autoptr(GstSample) first = next(queue);
  g_autoptr(GstSample) second = next(queue);
  g_assert_cmphex(pixel_at(second, 0, 0), ==, 0x111111);
  g_assert_cmpuint(GST_BUFFER_PTS(gst_sample_get_buffer(first)), <,
                   GST_BUFFER_PTS(gst_sample_get_buffer(second)));
  g_assert_null(gst_bus_pop_filtered(f->bus, GST_MESSAGE_WARNING));
  show(b, 43);
  gst_sample_unref(until(queue, 0x222222));
}

/* It can be started before a compositor, and stopped while it waits for one. */
static void test_late_screen(Fixture *f, gconstpointer data) {
  gboolean comes = GPOINTER_TO_INT(data);
  g_autoptr(GAsyncQueue) queue = start(f, "", DMABUF);
  gst_message_unref(wait_message(f, GST_MESSAGE_WARNING));
  if (!comes) return;
  show(fake_kms_create(&plain, 0x111111), 42);
  gst_sample_unref(until(queue, 0x111111));
}

/* Between the look at the plane and the one at its framebuffer, that may go. */
static void test_removed(Fixture *f, gconstpointer data) {
  (void)data;
  guint a = fake_kms_create(&plain, 0x111111), b = fake_kms_create(&plain, 0x222222);
  show(a, 42);
  g_autoptr(GAsyncQueue) queue = start(f, "", DMABUF);
  gst_sample_unref(until(queue, 0x111111));
  fake_kms_remove(1);
  show(b, 43);
  gst_sample_unref(until(queue, 0x222222));
}

typedef struct {
  const gchar *settings;
  void (*arrange)(void);
  GQuark (*domain)(void);
  gint code;
  const gchar *part;
} Refusal;

static void arrange_nothing(void) {}

static void arrange_planes(void) {
  fake_kms_set_planes(2);
}

static void arrange_format(void) {
  const FakeFramebuffer other = {.width = WIDTH, .height = HEIGHT, .fourcc = NV12, .pitch = PITCH};
  show(fake_kms_create(&other, 0), 42);
}

static const Refusal refusals[] = {
    {"device=refused", arrange_nothing, gst_resource_error_quark, GST_RESOURCE_ERROR_NOT_AUTHORIZED,
     "CAP_SYS_ADMIN"},
    {"device=missing", arrange_nothing, gst_resource_error_quark, GST_RESOURCE_ERROR_NOT_FOUND,
     "missing is no card of the driver virtio_gpu"},
    {"connector=HDMI-A-1", arrange_nothing, gst_resource_error_quark, GST_RESOURCE_ERROR_NOT_FOUND,
     "no connector HDMI-A-1, but: Virtual-1"},
    {"", fake_kms_deny, gst_resource_error_quark, GST_RESOURCE_ERROR_NOT_AUTHORIZED,
     "setcap cap_sys_admin+ep"},
    {"cursor=true", fake_kms_set_opaque, gst_resource_error_quark, GST_RESOURCE_ERROR_SETTINGS,
     "cursor=false"},
    {"", arrange_planes, gst_stream_error_quark, GST_STREAM_ERROR_FORMAT, "2 planes"},
    {"", arrange_format, gst_stream_error_quark, GST_STREAM_ERROR_FORMAT, "NV12"},
};

/* Each says what to do, before the pipeline plays. */
static void test_refusal(Fixture *f, gconstpointer data) {
  const Refusal *refusal = data;
  show(fake_kms_create(&plain, 0), 42);
  refusal->arrange();
  play(f, refusal->settings, "identity");
  g_assert_cmpint(gst_element_set_state(f->pipeline, GST_STATE_PAUSED), ==,
                  GST_STATE_CHANGE_FAILURE);
  assert_error(f, refusal->domain(), refusal->code, refusal->part);
}

/* A compositor's frames on 3D buffers can be encoded by the host, but not be read by the CPU. */
static void test_opaque_caps(Fixture *f, gconstpointer data) {
  (void)data;
  show(fake_kms_create(&plain, 0), 42);
  fake_kms_set_opaque();
  g_autoptr(GAsyncQueue) queue = start(f, "", SYSTEM);
  GstMessage *message = wait_message(f, GST_MESSAGE_ERROR);
  gst_message_unref(message);
  g_assert_cmpint(g_async_queue_length(queue), ==, 0);
}

#if GST_CHECK_VERSION(1, 24, 0)
static void test_drm_caps(Fixture *f, gconstpointer data) {
  FakeFramebuffer tiled = plain;
  (void)data;
  tiled.modifier = 0x0100000000000001;
  show(fake_kms_create(&tiled, 0), 42);
  g_autoptr(GAsyncQueue) queue = start(f, "", "video/x-raw(memory:DMABuf)");
  g_autoptr(GstSample) sample = next(queue);
  const GstStructure *caps = gst_caps_get_structure(gst_sample_get_caps(sample), 0);
  g_assert_cmpstr(gst_structure_get_string(caps, "format"), ==, "DMA_DRM");
  g_assert_cmpstr(gst_structure_get_string(caps, "drm-format"), ==, "XR24:0x0100000000000001");
}
#endif

int main(int argc, char **argv) {
  gst_init(&argc, &argv);
  g_test_init(&argc, &argv, NULL);
  GstVirtgpuSrcClass *klass = g_type_class_ref(GST_TYPE_VIRTGPU_SRC);
  klass->kms_ops = &fake_kms;
  klass->gpu_ops = &fake_gpu;
  gst_element_register(NULL, VIRTGPUSRC_FACTORY, GST_RANK_NONE, GST_TYPE_VIRTGPU_SRC);
#define TEST(name, test, data) g_test_add(name, Fixture, data, setup, test, teardown)
  TEST("/virtgpusrc/shares", test_shares, NULL);
  TEST("/virtgpusrc/reused-id", test_reused_id, NULL);
  TEST("/virtgpusrc/still/rate", test_still, "pacing=rate keepalive-time=0");
  TEST("/virtgpusrc/still/keepalive", test_still, "keepalive-time=1");
  TEST("/virtgpusrc/still/blind", test_blind, "keepalive-time=0");
  TEST("/virtgpusrc/idle", test_idle, NULL);
  TEST("/virtgpusrc/front-buffer", test_front_buffer, NULL);
  TEST("/virtgpusrc/part", test_part, NULL);
  TEST("/virtgpusrc/too-large", test_too_large, NULL);
  TEST("/virtgpusrc/system-memory", test_system_memory, NULL);
  TEST("/virtgpusrc/cursor", test_cursor, NULL);
  TEST("/virtgpusrc/hidden-cursor", test_hidden_cursor, NULL);
  TEST("/virtgpusrc/mode-change", test_mode_change, NULL);
  TEST("/virtgpusrc/off", test_off, NULL);
  TEST("/virtgpusrc/late-screen/comes", test_late_screen, GINT_TO_POINTER(TRUE));
  TEST("/virtgpusrc/late-screen/stopped", test_late_screen, GINT_TO_POINTER(FALSE));
  TEST("/virtgpusrc/removed", test_removed, NULL);
  TEST("/virtgpusrc/opaque", test_opaque_caps, NULL);
#if GST_CHECK_VERSION(1, 24, 0)
  TEST("/virtgpusrc/modifier", test_drm_caps, NULL);
#endif
  for (guint i = 0; i < G_N_ELEMENTS(refusals); i++) {
    g_autofree gchar *name = g_strdup_printf("/virtgpusrc/refusal/%u", i);
    TEST(name, test_refusal, &refusals[i]);
  }
  int status = g_test_run();
  g_type_class_unref(klass);
  fake_kms_reset();
  gst_deinit(); /* has GST_TRACERS=leaks report */
  return status;
}
