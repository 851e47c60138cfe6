/* The frames and errors of the element virtgpusrc, in a pipeline with a fake screen (fake-kms.h).
 */
#include <gst/allocators/allocators.h>
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
/* A frame rate that no test has to wait for. */
#define DMABUF "video/x-raw(memory:DMABuf),format=BGRx,framerate=1000/1"
#define SYSTEM "video/x-raw,format=BGRx,framerate=1000/1"
/* Only a test that hangs takes as long as this. */
#define SECONDS 120

static const FakeFramebuffer plain = {WIDTH, HEIGHT, XR24, PITCH, 0, 0};
static const FakeFramebuffer large = {2 * WIDTH, 2 * HEIGHT, XR24, 2 * PITCH, 0, 0};
static const FakeFramebuffer small_cursor = {4, 4, AR24, 16, 0, 0};

typedef struct {
  GstElement *pipeline;
  GstBus *bus;
  GAsyncQueue *queue; /* the frames, as GstSamples */
} Screen;

static void setup(Screen *f, gconstpointer data) {
  fake_gpu_reset();
  fake_kms_reset();
  f->queue = g_async_queue_new_full((GDestroyNotify)gst_sample_unref);
}

/* Asserts that all handles are closed. */
static void teardown(Screen *f, gconstpointer data) {
  if (f->pipeline) {
    gst_element_set_state(f->pipeline, GST_STATE_NULL);
    gst_object_unref(f->bus);
    gst_object_unref(f->pipeline);
  }
  g_async_queue_unref(f->queue);
  g_assert_cmpuint(fake_kms_counts().open_handles, ==, 0);
  g_assert_cmpuint(fake_kms_counts().mistakes, ==, 0);
  g_assert_cmpuint(fake_gpu_counts().open_handles, ==, 0);
}

/* Shows the whole framebuffer `number` with the id `id`. */
static void show(guint number, guint32 id) {
  fake_kms_flip(number, id, 0, 0, WIDTH, HEIGHT);
}

/* Shows a new framebuffer of one colour. */
static guint show_pixel(guint32 pixel, guint32 id) {
  guint number = fake_kms_create(&plain, pixel);
  show(number, id);
  return number;
}

/* The element with `settings` in gst-launch syntax, and a capsfilter. */
static void make(Screen *f, const gchar *settings, const gchar *caps) {
  g_autofree gchar *text = g_strdup_printf(
      "virtgpusrc name=source %s ! %s ! fakesink name=sink sync=false async=false "
      "enable-last-sample=false signal-handoffs=true",
      settings, caps);
  g_autoptr(GError) error = NULL;
  f->pipeline = gst_parse_launch(text, &error);
  g_assert_no_error(error);
  f->bus = gst_element_get_bus(f->pipeline);
}

static void on_frame(GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer queue) {
  g_autoptr(GstCaps) caps = gst_pad_get_current_caps(pad);
  g_async_queue_push(queue, gst_sample_new(buffer, caps, NULL, NULL));
}

/* The same, in PLAYING. */
static void play(Screen *f, const gchar *settings, const gchar *caps) {
  make(f, settings, caps);
  g_autoptr(GstElement) sink = gst_bin_get_by_name(GST_BIN(f->pipeline), "sink");
  g_signal_connect(sink, "handoff", G_CALLBACK(on_frame), f->queue);
  gst_element_set_state(f->pipeline, GST_STATE_PLAYING);
}

/* Waits for the next frame. */
static GstSample *next(Screen *f) {
  GstSample *sample = g_async_queue_timeout_pop(f->queue, SECONDS * G_USEC_PER_SEC);
  g_assert_nonnull(sample);
  return sample;
}

static void skip(Screen *f, guint n) {
  while (n-- > 0) gst_sample_unref(next(f));
}

/* One pixel of a frame, by its VideoMeta, without the top byte. */
static guint32 pixel_at(GstSample *sample, guint x, guint y) {
  GstBuffer *buffer = gst_sample_get_buffer(sample);
  GstVideoMeta *meta = gst_buffer_get_video_meta(buffer);
  gsize stride = meta ? (gsize)meta->stride[0] : WIDTH * 4, offset = meta ? meta->offset[0] : 0;
  guint32 pixel;
  g_assert_cmpuint(gst_buffer_extract(buffer, offset + y * stride + x * 4, &pixel, 4), ==, 4);
  return pixel & 0xffffffu;
}

/* Discards frames until one has `pixel` in its upper left corner. */
static GstSample *next_with(Screen *f, guint32 pixel) {
  GstSample *sample = next(f);
  for (; pixel_at(sample, 0, 0) != pixel; sample = next(f)) gst_sample_unref(sample);
  return sample;
}

static void skip_until(Screen *f, guint32 pixel) {
  gst_sample_unref(next_with(f, pixel));
}

static gint caps_int(GstSample *sample, const gchar *field) {
  gint value = 0;
  g_assert_true(
      gst_structure_get_int(gst_caps_get_structure(gst_sample_get_caps(sample), 0), field, &value));
  return value;
}

static GstMemory *memory_of(GstSample *sample) {
  return gst_buffer_peek_memory(gst_sample_get_buffer(sample), 0);
}

static ino_t inode_of(GstSample *sample) {
  struct stat status;
  g_assert_true(gst_is_dmabuf_memory(memory_of(sample)));
  g_assert_cmpint(fstat(gst_dmabuf_memory_get_fd(memory_of(sample)), &status), ==, 0);
  return status.st_ino;
}

static GstClockTime time_of(GstSample *sample) {
  return GST_BUFFER_PTS(gst_sample_get_buffer(sample));
}

/* Waits for a message of this type. */
static GstMessage *wait_message(Screen *f, GstMessageType type) {
  GstMessage *message = gst_bus_timed_pop_filtered(f->bus, SECONDS * GST_SECOND, type);
  g_assert_nonnull(message);
  return message;
}

/* Asserts that the next error has this code, and `part` in its text. */
static void assert_error(Screen *f, GQuark domain, gint code, const gchar *part) {
  g_autoptr(GError) error = NULL;
  g_autoptr(GstMessage) message = wait_message(f, GST_MESSAGE_ERROR);
  gst_message_parse_error(message, &error, NULL);
  g_assert_error(error, domain, code);
  g_assert_nonnull(strstr(error->message, part));
}

/* Frames are the framebuffers' memory, the same object each time a buffer is shown. */
static void test_shares(Screen *f, gconstpointer data) {
  guint a = show_pixel(0x111111, 42);
  play(f, "keepalive-time=0", DMABUF);
  g_autoptr(GstSample) first = next(f);
  g_assert_cmphex(pixel_at(first, WIDTH - 1, HEIGHT - 1), ==, 0x111111);
  show_pixel(0x222222, 43);
  g_autoptr(GstSample) second = next(f);
  g_assert_cmphex(pixel_at(second, 0, 0), ==, 0x222222);
  show(a, 42);
  g_autoptr(GstSample) third = next(f);
  g_assert_cmpuint(inode_of(third), ==, inode_of(first));
  g_assert_cmpuint(inode_of(second), !=, inode_of(first));
  g_assert_true(memory_of(third) == memory_of(first));
  g_assert_cmpuint(time_of(first), <, time_of(second));
  g_assert_cmpuint(fake_kms_counts().exports, ==, 2);
}

/* The kernel reuses the id of a removed framebuffer. */
static void test_reused_id(Screen *f, gconstpointer data) {
  show_pixel(0x111111, 42);
  play(f, "keepalive-time=0", DMABUF);
  g_autoptr(GstSample) first = next(f);
  show_pixel(0x222222, 42);
  g_autoptr(GstSample) second = next(f);
  g_assert_cmphex(pixel_at(first, 0, 0), ==, 0x111111);
  g_assert_cmphex(pixel_at(second, 0, 0), ==, 0x222222);
}

/* Frames without flips, depending on `pacing` and damage. */
static void test_still(Screen *f, gconstpointer data) {
  show_pixel(0x111111, 42);
  play(f, data, DMABUF);
  skip(f, 5);
}

/* Without damage reports every frame may have changed. */
static void test_blind(Screen *f, gconstpointer data) {
  fake_kms_set(blind, TRUE);
  test_still(f, data);
}

/* A still screen produces no frames, however often it is polled. */
static void test_idle(Screen *f, gconstpointer data) {
  show_pixel(0x111111, 42);
  play(f, "keepalive-time=0", DMABUF);
  skip(f, 1);
  guint looks = fake_kms_counts().looks;
  while (fake_kms_counts().looks < looks + 10) g_usleep(1000);
  g_assert_cmpint(g_async_queue_length(f->queue), ==, 0);
}

/* Drawing into the visible buffer is detected by its damage, and more than one frame follows. */
static void test_front_buffer(Screen *f, gconstpointer data) {
  guint a = show_pixel(0x111111, 42);
  play(f, "keepalive-time=0", DMABUF);
  skip(f, 1);
  fake_kms_fill(a, 0x333333);
  fake_kms_damage();
  g_autoptr(GstSample) sample = next(f);
  g_assert_cmphex(pixel_at(sample, 0, 0), ==, 0x333333);
  skip(f, 5);
}

/* Several outputs may show parts of one large framebuffer, as in X11. */
static void test_part(Screen *f, gconstpointer data) {
  FakeFramebuffer shared = large;
  shared.offset = 64;
  fake_kms_flip(fake_kms_create(&shared, 0x111111), 42, WIDTH, HEIGHT, WIDTH, HEIGHT);
  play(f, "", DMABUF);
  g_autoptr(GstSample) sample = next(f);
  GstVideoMeta *meta = gst_buffer_get_video_meta(gst_sample_get_buffer(sample));
  g_assert_cmpint(caps_int(sample, "width"), ==, WIDTH);
  g_assert_cmpuint(meta->offset[0], ==, 64 + HEIGHT * 2 * PITCH + WIDTH * 4);
  g_assert_cmpint(meta->stride[0], ==, 2 * PITCH);
}

static void test_system_memory(Screen *f, gconstpointer data) {
  const FakeFramebuffer padded = {WIDTH, HEIGHT, XR24, PITCH + 256, 0, 0};
  show(fake_kms_create(&padded, 0x123456), 42);
  play(f, "", SYSTEM);
  g_autoptr(GstSample) sample = next(f);
  g_assert_false(gst_is_dmabuf_memory(memory_of(sample)));
  g_assert_cmphex(pixel_at(sample, WIDTH - 1, HEIGHT - 1), ==, 0x123456);
}

/* Half transparent white (premultiplied) over black; only what is on the screen is drawn. */
static void test_cursor(Screen *f, gconstpointer data) {
  show_pixel(0, 42);
  guint pointer = fake_kms_create(&small_cursor, 0x80808080);
  fake_kms_set_pixel(pointer, 2, 2, 0xffff0000);
  fake_kms_set_pixel(pointer, 1, 0, 0xff00ff00);
  fake_kms_set_cursor(pointer, 50, -2, -2, 4);
  play(f, "cursor=true keepalive-time=0", DMABUF);
  g_autoptr(GstSample) sample = next(f);
  g_assert_true(gst_is_dmabuf_memory(memory_of(sample)));
  g_assert_cmphex(pixel_at(sample, 0, 0), ==, 0xff0000);
  g_assert_cmphex(pixel_at(sample, 1, 1), ==, 0x808080);
  g_assert_cmphex(pixel_at(sample, 2, 0), ==, 0);
  g_assert_cmphex(pixel_at(sample, 0, 2), ==, 0);
  fake_kms_set_cursor(pointer, 50, (gint32)WIDTH - 2, (gint32)HEIGHT - 1, 4);
  g_autoptr(GstSample) moved = next(f);
  g_assert_cmphex(pixel_at(moved, WIDTH - 2, HEIGHT - 1), ==, 0x808080);
  g_assert_cmphex(pixel_at(moved, WIDTH - 1, HEIGHT - 1), ==, 0x00ff00);
  g_assert_cmphex(pixel_at(moved, 1, 1), ==, 0);
}

/* While no cursor is on the screen, frames are not copied. */
static void test_hidden_cursor(Screen *f, gconstpointer data) {
  show_pixel(0x111111, 42);
  fake_kms_set_cursor(fake_kms_create(&small_cursor, 0xffffffff), 50, (gint32)WIDTH, 0, 4);
  play(f, "cursor=true", DMABUF);
  g_autoptr(GstSample) sample = next(f);
  g_assert_cmpuint(gst_buffer_get_size(gst_sample_get_buffer(sample)), ==, PITCH * HEIGHT);
  g_assert_true(GST_MEMORY_IS_READONLY(memory_of(sample)));
  g_assert_cmpuint(fake_kms_counts().exports, ==, 2);
}

static void test_mode_change(Screen *f, gconstpointer data) {
  show_pixel(0x111111, 42);
  play(f, "", "video/x-raw(memory:DMABuf)");
  skip_until(f, 0x111111);
  fake_kms_flip(fake_kms_create(&large, 0x222222), 42, 0, 0, 2 * WIDTH, 2 * HEIGHT);
  g_autoptr(GstSample) sample = next_with(f, 0x222222);
  g_assert_cmpint(caps_int(sample, "width"), ==, 2 * WIDTH);
  g_assert_cmpint(caps_int(sample, "height"), ==, 2 * HEIGHT);
}

/* The last frame is repeated while the screen is off, with one warning. */
static void test_off(Screen *f, gconstpointer data) {
  show_pixel(0x111111, 42);
  play(f, "keepalive-time=1", DMABUF);
  skip(f, 1);
  fake_kms_set(active, FALSE);
  gst_message_unref(wait_message(f, GST_MESSAGE_WARNING));
  skip(f, (guint)g_async_queue_length(f->queue));
  g_autoptr(GstSample) first = next(f);
  g_autoptr(GstSample) second = next(f);
  g_assert_cmphex(pixel_at(second, 0, 0), ==, 0x111111);
  g_assert_cmpuint(time_of(first), <, time_of(second));
  g_assert_null(gst_bus_pop_filtered(f->bus, GST_MESSAGE_WARNING));
  show_pixel(0x222222, 43);
  skip_until(f, 0x222222);
}

/* It can start before a compositor, and stop while it waits for one. */
static void test_late_screen(Screen *f, gconstpointer comes) {
  play(f, "", DMABUF);
  gst_message_unref(wait_message(f, GST_MESSAGE_WARNING));
  if (!comes) return;
  show_pixel(0x111111, 42);
  skip_until(f, 0x111111);
}

/* A framebuffer can be removed between the queries of the plane and of the framebuffer. */
static void test_removed(Screen *f, gconstpointer data) {
  show_pixel(0x111111, 42);
  play(f, "", DMABUF);
  skip_until(f, 0x111111);
  fake_kms_set(removed, 1);
  show_pixel(0x222222, 43);
  skip_until(f, 0x222222);
}

#if GST_CHECK_VERSION(1, 24, 0)
static void test_drm_caps(Screen *f, gconstpointer data) {
  FakeFramebuffer tiled = plain;
  tiled.modifier = 0x0100000000000001;
  show(fake_kms_create(&tiled, 0), 42);
  play(f, "", "video/x-raw(memory:DMABuf)");
  g_autoptr(GstSample) sample = next(f);
  const GstStructure *caps = gst_caps_get_structure(gst_sample_get_caps(sample), 0);
  g_assert_cmpstr(gst_structure_get_string(caps, "format"), ==, "DMA_DRM");
  g_assert_cmpstr(gst_structure_get_string(caps, "drm-format"), ==, "XR24:0x0100000000000001");
}
#endif

/* Like applications that keep their pipeline. */
static void test_restart(Screen *f, gconstpointer data) {
  show_pixel(0x111111, 42);
  play(f, "", DMABUF);
  for (guint i = 0; i < 3; i++) {
    skip_until(f, 0x111111);
    gst_element_set_state(f->pipeline, GST_STATE_NULL);
    skip(f, (guint)g_async_queue_length(f->queue));
    gst_element_set_state(f->pipeline, GST_STATE_PLAYING);
  }
}

/* No latency, and no limit on how long a frame can wait. */
static void test_latency(Screen *f, gconstpointer data) {
  g_autoptr(GstQuery) query = gst_query_new_latency();
  GstClockTime minimum, maximum;
  gboolean live;
  show_pixel(0x111111, 42);
  play(f, "", DMABUF);
  skip(f, 1);
  g_autoptr(GstElement) source = gst_bin_get_by_name(GST_BIN(f->pipeline), "source");
  g_assert_true(gst_element_query(source, query));
  gst_query_parse_latency(query, &live, &minimum, &maximum);
  g_assert_true(live);
  g_assert_cmpuint(minimum, ==, 0);
  g_assert_cmpuint(maximum, ==, GST_CLOCK_TIME_NONE);
}

typedef struct {
  const gchar *settings;
  FakeKmsState state;
  guint32 fourcc;
  GQuark (*domain)(void);
  gint code;
  const gchar *part;
} Refusal;

#define RESOURCE(code) gst_resource_error_quark, GST_RESOURCE_ERROR_##code
#define FORMAT gst_stream_error_quark, GST_STREAM_ERROR_FORMAT

/* One row a line. */
/* clang-format off */
static const Refusal refusals[] = {
    {"device=refused", {.planes = 1}, XR24, RESOURCE(NOT_AUTHORIZED), "CAP_SYS_ADMIN"},
    {"device=missing", {.planes = 1}, XR24, RESOURCE(NOT_FOUND), "missing is not a card of the driver virtio_gpu"},
    {"connector=HDMI-A-1", {.planes = 1}, XR24, RESOURCE(NOT_FOUND), "no connector HDMI-A-1, but: Virtual-1"},
    {"", {.planes = 1, .denied = TRUE}, XR24, RESOURCE(NOT_AUTHORIZED), "setcap cap_sys_admin+ep"},
    {"cursor=true", {.planes = 1, .opaque = TRUE}, XR24, RESOURCE(SETTINGS), "cursor=false"},
    {"", {.planes = 2}, XR24, FORMAT, "2 planes"},
    {"", {.planes = 1}, NV12, FORMAT, "NV12"},
};
/* clang-format on */

/* Each is rejected before the pipeline plays, with the remedy. */
static void test_refusal(Screen *f, gconstpointer data) {
  const Refusal *refusal = data;
  FakeFramebuffer framebuffer = plain;
  framebuffer.fourcc = refusal->fourcc;
  *fake_kms_lock() = refusal->state;
  fake_kms_unlock();
  show(fake_kms_create(&framebuffer, 0), 42);
  make(f, refusal->settings, "identity");
  g_assert_cmpint(gst_element_set_state(f->pipeline, GST_STATE_PAUSED), ==,
                  GST_STATE_CHANGE_FAILURE);
  assert_error(f, refusal->domain(), refusal->code, refusal->part);
}

/* 3D buffers can be encoded by the host, but not read by the CPU. */
static void test_opaque_caps(Screen *f, gconstpointer data) {
  show_pixel(0, 42);
  fake_kms_set(opaque, TRUE);
  play(f, "", SYSTEM);
  gst_message_unref(wait_message(f, GST_MESSAGE_ERROR));
  g_assert_cmpint(g_async_queue_length(f->queue), ==, 0);
}

/* A framebuffer that exceeds its memory is never read. */
static void test_too_large(Screen *f, gconstpointer data) {
  fake_kms_flip(fake_kms_create(&plain, 0), 42, 0, 1, WIDTH, HEIGHT);
  play(f, "", DMABUF);
  assert_error(f, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_READ, "smaller than its screen");
}

#define TEST(name, test, data) g_test_add("/virtgpusrc/" name, Screen, data, setup, test, teardown)

int main(int argc, char **argv) {
  gst_init(&argc, &argv);
  g_test_init(&argc, &argv, NULL);
  GstVirtgpuSrcClass *klass = g_type_class_ref(GST_TYPE_VIRTGPU_SRC);
  klass->kms_ops = &fake_kms;
  klass->gpu_ops = &fake_gpu;
  gst_element_register(NULL, VIRTGPUSRC_FACTORY, GST_RANK_NONE, GST_TYPE_VIRTGPU_SRC);

  TEST("shares", test_shares, NULL);
  TEST("reused-id", test_reused_id, NULL);
  TEST("still/rate", test_still, "pacing=rate keepalive-time=0");
  TEST("still/keepalive", test_still, "keepalive-time=1");
  TEST("still/blind", test_blind, "keepalive-time=0");
  TEST("idle", test_idle, NULL);
  TEST("front-buffer", test_front_buffer, NULL);
  TEST("part", test_part, NULL);
  TEST("system-memory", test_system_memory, NULL);
  TEST("cursor", test_cursor, NULL);
  TEST("hidden-cursor", test_hidden_cursor, NULL);
  TEST("mode-change", test_mode_change, NULL);
  TEST("off", test_off, NULL);
  TEST("late-screen/comes", test_late_screen, GINT_TO_POINTER(TRUE));
  TEST("late-screen/stopped", test_late_screen, GINT_TO_POINTER(FALSE));
  TEST("removed", test_removed, NULL);
#if GST_CHECK_VERSION(1, 24, 0)
  TEST("modifier", test_drm_caps, NULL);
#endif
  TEST("restart", test_restart, NULL);
  TEST("latency", test_latency, NULL);
  for (guint i = 0; i < G_N_ELEMENTS(refusals); i++) {
    g_autofree gchar *name = g_strdup_printf("/virtgpusrc/refusal/%u", i);
    g_test_add(name, Screen, &refusals[i], setup, test_refusal, teardown);
  }
  TEST("refusal/opaque", test_opaque_caps, NULL);
  TEST("refusal/too-large", test_too_large, NULL);

  int status = g_test_run();
  g_type_class_unref(klass);
  fake_kms_reset();
  gst_deinit(); /* has GST_TRACERS=leaks report */
  return status;
}
