/* The frames and errors of the element virtgpusrc. */
#include <gst/allocators/allocators.h>
#include <gst/video/video.h>
#include <sys/stat.h>

#include "screen.h"

static ino_t inode_of(GstSample *sample) {
  GstMemory *memory = gst_buffer_peek_memory(gst_sample_get_buffer(sample), 0);
  struct stat status;
  g_assert_true(gst_is_dmabuf_memory(memory));
  g_assert_cmpint(fstat(gst_dmabuf_memory_get_fd(memory), &status), ==, 0);
  return status.st_ino;
}

/* Frames are the framebuffers' memory, the same object each time a buffer is shown. */
static void test_shares(Screen *f, gconstpointer data) {
  guint a = fake_kms_create(&plain, 0x111111), b = fake_kms_create(&plain, 0x222222);
  screen_show(a, 42);
  g_autoptr(GAsyncQueue) queue = screen_play(f, "keepalive-time=0", DMABUF);
  g_autoptr(GstSample) first = screen_next(queue);
  g_assert_cmphex(screen_pixel_at(first, WIDTH - 1, HEIGHT - 1), ==, 0x111111);
  screen_show(b, 43);
  g_autoptr(GstSample) second = screen_next(queue);
  g_assert_cmphex(screen_pixel_at(second, 0, 0), ==, 0x222222);
  screen_show(a, 42);
  g_autoptr(GstSample) third = screen_next(queue);
  g_assert_cmpuint(inode_of(third), ==, inode_of(first));
  g_assert_cmpuint(inode_of(second), !=, inode_of(first));
  g_assert_true(gst_buffer_peek_memory(gst_sample_get_buffer(third), 0) ==
                gst_buffer_peek_memory(gst_sample_get_buffer(first), 0));
  g_assert_cmpuint(GST_BUFFER_PTS(gst_sample_get_buffer(first)), <,
                   GST_BUFFER_PTS(gst_sample_get_buffer(second)));
  FakeKmsCounts counts = fake_kms_counts();
  g_assert_cmpuint(counts.exports, ==, 2);
}

/* The kernel reuses the id of a removed framebuffer. */
static void test_reused_id(Screen *f, gconstpointer data) {
  guint a = fake_kms_create(&plain, 0x111111), b = fake_kms_create(&plain, 0x222222);
  screen_show(a, 42);
  g_autoptr(GAsyncQueue) queue = screen_play(f, "keepalive-time=0", DMABUF);
  g_autoptr(GstSample) first = screen_next(queue);
  screen_show(b, 42);
  g_autoptr(GstSample) second = screen_next(queue);
  g_assert_cmphex(screen_pixel_at(first, 0, 0), ==, 0x111111);
  g_assert_cmphex(screen_pixel_at(second, 0, 0), ==, 0x222222);
}

/* Frames without flips, depending on `pacing` and damage. */
static void test_still(Screen *f, gconstpointer data) {
  const gchar *settings = data;
  screen_show(fake_kms_create(&plain, 0x111111), 42);
  g_autoptr(GAsyncQueue) queue = screen_play(f, settings, DMABUF);
  for (guint i = 0; i < 5; i++) gst_sample_unref(screen_next(queue));
}

/* Without damage reports every frame may have changed. */
static void test_blind(Screen *f, gconstpointer data) {
  fake_kms_set(blind, TRUE);
  test_still(f, data);
}

/* A still screen produces no frames, however often it is polled. */
static void test_idle(Screen *f, gconstpointer data) {
  FakeKmsCounts later;
  screen_show(fake_kms_create(&plain, 0x111111), 42);
  g_autoptr(GAsyncQueue) queue = screen_play(f, "keepalive-time=0", DMABUF);
  gst_sample_unref(screen_next(queue));
  FakeKmsCounts counts = fake_kms_counts();
  do {
    g_usleep(1000);
    later = fake_kms_counts();
  } while (later.looks < counts.looks + 10);
  g_assert_cmpint(g_async_queue_length(queue), ==, 0);
}

/* Drawing into the visible buffer is detected by its damage, and more than one frame follows. */
static void test_front_buffer(Screen *f, gconstpointer data) {
  guint a = fake_kms_create(&plain, 0x111111);
  screen_show(a, 42);
  g_autoptr(GAsyncQueue) queue = screen_play(f, "keepalive-time=0", DMABUF);
  gst_sample_unref(screen_next(queue));
  fake_kms_fill(a, 0x333333);
  fake_kms_damage();
  g_autoptr(GstSample) sample = screen_next(queue);
  g_assert_cmphex(screen_pixel_at(sample, 0, 0), ==, 0x333333);
  for (guint i = 0; i < 5; i++) gst_sample_unref(screen_next(queue));
}

/* Several outputs may show parts of one large framebuffer, as in X11. */
static void test_part(Screen *f, gconstpointer data) {
  const FakeFramebuffer large = {
      .width = 2 * WIDTH, .height = 2 * HEIGHT, .fourcc = XR24, .pitch = 2 * PITCH, .offset = 64};
  fake_kms_flip(fake_kms_create(&large, 0x111111), 42, WIDTH, HEIGHT, WIDTH, HEIGHT);
  g_autoptr(GAsyncQueue) queue = screen_play(f, "", DMABUF);
  g_autoptr(GstSample) sample = screen_next(queue);
  const GstStructure *caps = gst_caps_get_structure(gst_sample_get_caps(sample), 0);
  GstVideoMeta *meta = gst_buffer_get_video_meta(gst_sample_get_buffer(sample));
  gint width = 0;
  g_assert_true(gst_structure_get_int(caps, "width", &width));
  g_assert_cmpint(width, ==, WIDTH);
  g_assert_cmpuint(meta->offset[0], ==, 64 + HEIGHT * 2 * PITCH + WIDTH * 4);
  g_assert_cmpint(meta->stride[0], ==, 2 * PITCH);
}

static void test_system_memory(Screen *f, gconstpointer data) {
  const FakeFramebuffer padded = {
      .width = WIDTH, .height = HEIGHT, .fourcc = XR24, .pitch = PITCH + 256};
  screen_show(fake_kms_create(&padded, 0x123456), 42);
  g_autoptr(GAsyncQueue) queue = screen_play(f, "", SYSTEM);
  g_autoptr(GstSample) sample = screen_next(queue);
  g_assert_false(gst_is_dmabuf_memory(gst_buffer_peek_memory(gst_sample_get_buffer(sample), 0)));
  g_assert_cmphex(screen_pixel_at(sample, WIDTH - 1, HEIGHT - 1), ==, 0x123456);
}

/* Half transparent white (premultiplied) over black; only what is on the screen is drawn. */
static void test_cursor(Screen *f, gconstpointer data) {
  screen_show(fake_kms_create(&plain, 0), 42);
  guint pointer = fake_kms_create(&small_cursor, 0x80808080);
  fake_kms_set_pixel(pointer, 2, 2, 0xffff0000);
  fake_kms_set_pixel(pointer, 1, 0, 0xff00ff00);
  fake_kms_set_cursor(pointer, 50, -2, -2, 4);
  g_autoptr(GAsyncQueue) queue = screen_play(f, "cursor=true keepalive-time=0", DMABUF);
  g_autoptr(GstSample) sample = screen_next(queue);
  g_assert_true(gst_is_dmabuf_memory(gst_buffer_peek_memory(gst_sample_get_buffer(sample), 0)));
  g_assert_cmphex(screen_pixel_at(sample, 0, 0), ==, 0xff0000);
  g_assert_cmphex(screen_pixel_at(sample, 1, 1), ==, 0x808080);
  g_assert_cmphex(screen_pixel_at(sample, 2, 0), ==, 0);
  g_assert_cmphex(screen_pixel_at(sample, 0, 2), ==, 0);
  fake_kms_set_cursor(pointer, 50, (gint32)WIDTH - 2, (gint32)HEIGHT - 1, 4);
  g_autoptr(GstSample) moved = screen_next(queue);
  g_assert_cmphex(screen_pixel_at(moved, WIDTH - 2, HEIGHT - 1), ==, 0x808080);
  g_assert_cmphex(screen_pixel_at(moved, WIDTH - 1, HEIGHT - 1), ==, 0x00ff00);
  g_assert_cmphex(screen_pixel_at(moved, 1, 1), ==, 0);
}

/* While no cursor is on the screen, frames are not copied. */
static void test_hidden_cursor(Screen *f, gconstpointer data) {
  screen_show(fake_kms_create(&plain, 0x111111), 42);
  fake_kms_set_cursor(fake_kms_create(&small_cursor, 0xffffffff), 50, (gint32)WIDTH, 0, 4);
  g_autoptr(GAsyncQueue) queue = screen_play(f, "cursor=true", DMABUF);
  g_autoptr(GstSample) sample = screen_next(queue);
  g_assert_cmpuint(gst_buffer_get_size(gst_sample_get_buffer(sample)), ==, PITCH * HEIGHT);
  g_assert_true(GST_MEMORY_IS_READONLY(gst_buffer_peek_memory(gst_sample_get_buffer(sample), 0)));
  FakeKmsCounts counts = fake_kms_counts();
  g_assert_cmpuint(counts.exports, ==, 2);
}

static void test_mode_change(Screen *f, gconstpointer data) {
  const FakeFramebuffer larger = {
      .width = 2 * WIDTH, .height = 2 * HEIGHT, .fourcc = XR24, .pitch = 2 * PITCH};
  gint width = 0, height = 0;
  screen_show(fake_kms_create(&plain, 0x111111), 42);
  g_autoptr(GAsyncQueue) queue = screen_play(f, "", "video/x-raw(memory:DMABuf)");
  gst_sample_unref(screen_until(queue, 0x111111));
  fake_kms_flip(fake_kms_create(&larger, 0x222222), 42, 0, 0, 2 * WIDTH, 2 * HEIGHT);
  g_autoptr(GstSample) sample = screen_until(queue, 0x222222);
  const GstStructure *caps = gst_caps_get_structure(gst_sample_get_caps(sample), 0);
  g_assert_true(gst_structure_get_int(caps, "width", &width));
  g_assert_true(gst_structure_get_int(caps, "height", &height));
  g_assert_cmpint(width, ==, 2 * WIDTH);
  g_assert_cmpint(height, ==, 2 * HEIGHT);
}

/* The last frame is repeated while the screen is off, with one warning. */
static void test_off(Screen *f, gconstpointer data) {
  guint a = fake_kms_create(&plain, 0x111111), b = fake_kms_create(&plain, 0x222222);
  screen_show(a, 42);
  g_autoptr(GAsyncQueue) queue = screen_play(f, "keepalive-time=1", DMABUF);
  gst_sample_unref(screen_next(queue));
  fake_kms_set(active, FALSE);
  gst_message_unref(screen_wait_message(f, GST_MESSAGE_WARNING));
  while (g_async_queue_length(queue) > 0) gst_sample_unref(screen_next(queue));
  g_autoptr(GstSample) first = screen_next(queue);
  g_autoptr(GstSample) second = screen_next(queue);
  g_assert_cmphex(screen_pixel_at(second, 0, 0), ==, 0x111111);
  g_assert_cmpuint(GST_BUFFER_PTS(gst_sample_get_buffer(first)), <,
                   GST_BUFFER_PTS(gst_sample_get_buffer(second)));
  g_assert_null(gst_bus_pop_filtered(f->bus, GST_MESSAGE_WARNING));
  screen_show(b, 43);
  gst_sample_unref(screen_until(queue, 0x222222));
}

/* It can start before a compositor, and stop while it waits for one. */
static void test_late_screen(Screen *f, gconstpointer data) {
  gboolean comes = GPOINTER_TO_INT(data);
  g_autoptr(GAsyncQueue) queue = screen_play(f, "", DMABUF);
  gst_message_unref(screen_wait_message(f, GST_MESSAGE_WARNING));
  if (!comes) return;
  screen_show(fake_kms_create(&plain, 0x111111), 42);
  gst_sample_unref(screen_until(queue, 0x111111));
}

/* A framebuffer can be removed between the queries of the plane and of the framebuffer. */
static void test_removed(Screen *f, gconstpointer data) {
  guint a = fake_kms_create(&plain, 0x111111), b = fake_kms_create(&plain, 0x222222);
  screen_show(a, 42);
  g_autoptr(GAsyncQueue) queue = screen_play(f, "", DMABUF);
  gst_sample_unref(screen_until(queue, 0x111111));
  fake_kms_set(removed, 1);
  screen_show(b, 43);
  gst_sample_unref(screen_until(queue, 0x222222));
}

#if GST_CHECK_VERSION(1, 24, 0)
static void test_drm_caps(Screen *f, gconstpointer data) {
  FakeFramebuffer tiled = plain;
  tiled.modifier = 0x0100000000000001;
  screen_show(fake_kms_create(&tiled, 0), 42);
  g_autoptr(GAsyncQueue) queue = screen_play(f, "", "video/x-raw(memory:DMABuf)");
  g_autoptr(GstSample) sample = screen_next(queue);
  const GstStructure *caps = gst_caps_get_structure(gst_sample_get_caps(sample), 0);
  g_assert_cmpstr(gst_structure_get_string(caps, "format"), ==, "DMA_DRM");
  g_assert_cmpstr(gst_structure_get_string(caps, "drm-format"), ==, "XR24:0x0100000000000001");
}
#endif

/* Like applications that keep their pipeline. */
static void test_restart(Screen *f, gconstpointer data) {
  screen_show(fake_kms_create(&plain, 0x111111), 42);
  g_autoptr(GAsyncQueue) queue = screen_play(f, "", DMABUF);
  for (guint i = 0; i < 3; i++) {
    gst_sample_unref(screen_until(queue, 0x111111));
    gst_element_set_state(f->pipeline, GST_STATE_NULL);
    while (g_async_queue_length(queue) > 0) gst_sample_unref(g_async_queue_pop(queue));
    gst_element_set_state(f->pipeline, GST_STATE_PLAYING);
  }
}

/* No latency, and no limit on how long a frame can wait. */
static void test_latency(Screen *f, gconstpointer data) {
  g_autoptr(GstQuery) query = gst_query_new_latency();
  GstClockTime minimum, maximum;
  gboolean live;
  screen_show(fake_kms_create(&plain, 0x111111), 42);
  g_autoptr(GAsyncQueue) queue = screen_play(f, "", DMABUF);
  gst_sample_unref(screen_next(queue));
  g_assert_true(gst_element_query(f->source, query));
  gst_query_parse_latency(query, &live, &minimum, &maximum);
  g_assert_true(live);
  g_assert_cmpuint(minimum, ==, 0);
  g_assert_cmpuint(maximum, ==, GST_CLOCK_TIME_NONE);
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
  fake_kms_set(planes, 2);
}

static void arrange_denied(void) {
  fake_kms_set(denied, TRUE);
}

static void arrange_opaque(void) {
  fake_kms_set(opaque, TRUE);
}

static void arrange_format(void) {
  const FakeFramebuffer other = {.width = WIDTH, .height = HEIGHT, .fourcc = NV12, .pitch = PITCH};
  screen_show(fake_kms_create(&other, 0), 42);
}

static const Refusal refusals[] = {
    {"device=refused", arrange_nothing, gst_resource_error_quark, GST_RESOURCE_ERROR_NOT_AUTHORIZED,
     "CAP_SYS_ADMIN"},
    {"device=missing", arrange_nothing, gst_resource_error_quark, GST_RESOURCE_ERROR_NOT_FOUND,
     "missing is not a card of the driver virtio_gpu"},
    {"connector=HDMI-A-1", arrange_nothing, gst_resource_error_quark, GST_RESOURCE_ERROR_NOT_FOUND,
     "no connector HDMI-A-1, but: Virtual-1"},
    {"", arrange_denied, gst_resource_error_quark, GST_RESOURCE_ERROR_NOT_AUTHORIZED,
     "setcap cap_sys_admin+ep"},
    {"cursor=true", arrange_opaque, gst_resource_error_quark, GST_RESOURCE_ERROR_SETTINGS,
     "cursor=false"},
    {"", arrange_planes, gst_stream_error_quark, GST_STREAM_ERROR_FORMAT, "2 planes"},
    {"", arrange_format, gst_stream_error_quark, GST_STREAM_ERROR_FORMAT, "NV12"},
};

/* Each is rejected before the pipeline plays, with the remedy. */
static void test_refusal(Screen *f, gconstpointer data) {
  const Refusal *refusal = data;
  screen_show(fake_kms_create(&plain, 0), 42);
  refusal->arrange();
  screen_make(f, refusal->settings, "identity");
  g_assert_cmpint(gst_element_set_state(f->pipeline, GST_STATE_PAUSED), ==,
                  GST_STATE_CHANGE_FAILURE);
  screen_assert_error(f, refusal->domain(), refusal->code, refusal->part);
}

/* 3D buffers can be encoded by the host, but not read by the CPU. */
static void test_opaque_caps(Screen *f, gconstpointer data) {
  screen_show(fake_kms_create(&plain, 0), 42);
  arrange_opaque();
  g_autoptr(GAsyncQueue) queue = screen_play(f, "", SYSTEM);
  GstMessage *message = screen_wait_message(f, GST_MESSAGE_ERROR);
  gst_message_unref(message);
  g_assert_cmpint(g_async_queue_length(queue), ==, 0);
}

/* A framebuffer that exceeds its memory is never read. */
static void test_too_large(Screen *f, gconstpointer data) {
  fake_kms_flip(fake_kms_create(&plain, 0), 42, 0, 1, WIDTH, HEIGHT);
  g_autoptr(GAsyncQueue) queue = screen_play(f, "", DMABUF);
  screen_assert_error(f, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_READ, "smaller than its screen");
}

static void add(void) {
  TEST("/virtgpusrc/shares", test_shares, NULL);
  TEST("/virtgpusrc/reused-id", test_reused_id, NULL);
  TEST("/virtgpusrc/still/rate", test_still, "pacing=rate keepalive-time=0");
  TEST("/virtgpusrc/still/keepalive", test_still, "keepalive-time=1");
  TEST("/virtgpusrc/still/blind", test_blind, "keepalive-time=0");
  TEST("/virtgpusrc/idle", test_idle, NULL);
  TEST("/virtgpusrc/front-buffer", test_front_buffer, NULL);
  TEST("/virtgpusrc/part", test_part, NULL);
  TEST("/virtgpusrc/system-memory", test_system_memory, NULL);
  TEST("/virtgpusrc/cursor", test_cursor, NULL);
  TEST("/virtgpusrc/hidden-cursor", test_hidden_cursor, NULL);
  TEST("/virtgpusrc/mode-change", test_mode_change, NULL);
  TEST("/virtgpusrc/off", test_off, NULL);
  TEST("/virtgpusrc/late-screen/comes", test_late_screen, GINT_TO_POINTER(TRUE));
  TEST("/virtgpusrc/late-screen/stopped", test_late_screen, GINT_TO_POINTER(FALSE));
  TEST("/virtgpusrc/removed", test_removed, NULL);
#if GST_CHECK_VERSION(1, 24, 0)
  TEST("/virtgpusrc/modifier", test_drm_caps, NULL);
#endif
  TEST("/virtgpusrc/restart", test_restart, NULL);
  TEST("/virtgpusrc/latency", test_latency, NULL);
  for (guint i = 0; i < G_N_ELEMENTS(refusals); i++) {
    g_autofree gchar *name = g_strdup_printf("/virtgpusrc/refusal/%u", i);
    TEST(name, test_refusal, &refusals[i]);
  }
  TEST("/virtgpusrc/refusal/opaque", test_opaque_caps, NULL);
  TEST("/virtgpusrc/refusal/too-large", test_too_large, NULL);
}

int main(int argc, char **argv) {
  return screen_main(argc, argv, add);
}
