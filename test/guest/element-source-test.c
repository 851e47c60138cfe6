/* How the pixels reach the host, and the element's property and warnings about it. */
#include <gst/video/video.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "fake-gpu.h"
#include "fixture.h"
#include "gstvsockenc.h"

/* Ten times what the guest may have in flight. */
#define LARGE "video/x-raw,format=BGRx,width=640,height=480,framerate=30/1"
#define LARGE_BYTES (640 * 480 * 4)

static void set_gpu(const VencGpuOps *ops) {
  ((GstVsockEncClass *)g_type_class_peek(GST_TYPE_VSOCK_ENC))->gpu_ops = ops;
}

static guint32 crc_of(GstBuffer *buffer) {
  GstMapInfo map;
  gst_buffer_map(buffer, &map, GST_MAP_READ);
  uLong crc = crc32(0, map.data, (uInt)map.size);
  gst_buffer_unmap(buffer, &map);
  return (guint32)crc;
}

static int plain_file(gsize size) {
  g_autofree gchar *path = NULL;
  int fd = g_file_open_tmp("vsockenc-XXXXXX", &path, NULL);
  g_assert_cmpint(ftruncate(fd, (off_t)size), ==, 0);
  unlink(path);
  return fd;
}

/* A harness on a machine without virtio-gpu. */
static void open_without_gpu(Fixture *f, const gchar *settings, const gchar *caps) {
  set_gpu(&no_gpu);
  fixture_harness(f, settings);
  gst_harness_set_src_caps_str(f->harness, caps);
}

/* The host received this many frames' pixels, the last with this checksum. */
static void assert_pixels(Fixture *f, guint frames, guint32 crc) {
  g_assert_cmpuint(peer_counts(f->peer).frames_inline, ==, frames);
  g_assert_cmphex(peer_counts(f->peer).last_crc, ==, crc);
}

/* Encodes LARGE frame `number`; the host received its pixels, as those of frame `n` (from 1). */
static void encode_large(Fixture *f, guint number, guint n) {
  g_autoptr(GstBuffer) buffer = fixture_noise(LARGE_BYTES, number);
  fixture_push_buffer(f, gst_buffer_ref(buffer));
  fixture_pull(f, number, 1);
  assert_pixels(f, n, crc_of(buffer));
}

/* Frames many times larger than the window, each complete. */
static void test_no_gpu(Fixture *f, gconstpointer data) {
  open_without_gpu(f, NULL, LARGE);
  for (guint i = 0; i < 5; i++) encode_large(f, i, i + 1);
  fixture_assert_source(f, "inline");
  g_assert_cmpuint(fixture_stat(f, "frames-inline"), ==, 5);
  g_assert_cmpuint(fixture_stat(f, "frames-copied"), ==, 0);
  g_assert_cmpuint(fixture_stat(f, "pixel-bytes-sent"), ==, 5 * LARGE_BYTES);
  g_assert_cmpuint(fixture_count_warnings(f, "this machine has no virtio-gpu"), ==, 1);
}

/* Pixels are sent over the link without the padding of the memory. */
static void test_no_gpu_padded(Fixture *f, gconstpointer data) {
  gsize offset[4] = {128, 8192};
  gint stride[4] = {96, 80};
  GstMapInfo map;
  open_without_gpu(f, NULL, "video/x-raw,format=NV12,width=66,height=34,framerate=30/1");
  g_autoptr(GstBuffer) buffer = fixture_noise(16384, 0);
  gst_buffer_map(buffer, &map, GST_MAP_READ);
  uLong crc = crc32(0, NULL, 0);
  for (guint y = 0; y < 34; y++) crc = crc32(crc, map.data + 128 + 96 * y, 66);
  for (guint y = 0; y < 17; y++) crc = crc32(crc, map.data + 8192 + 80 * y, 66);
  gst_buffer_unmap(buffer, &map);
  gst_buffer_add_video_meta_full(buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_FORMAT_NV12, 66, 34,
                                 2, offset, stride);
  fixture_push_buffer(f, gst_buffer_ref(buffer));
  fixture_pull(f, 0, 1);
  assert_pixels(f, 1, (guint32)crc);
  g_assert_cmpuint(fixture_stat(f, "pixel-bytes-sent"), ==, 66 * 34 + 66 * 17);
}

static void test_copy(Fixture *f, gconstpointer data) {
  fixture_harness(f, NULL);
  fixture_encode(f, 0, 5);
  fixture_assert_source(f, "resource-copy");
  g_assert_cmpuint(fixture_count_warnings(f, "did not take its pool"), ==, 1);
}

static void test_gather(Fixture *f, gconstpointer data) {
  peer_set(f->peer, faults, PEER_GATHER);
  fixture_harness(f, NULL);
  fixture_encode(f, 0, 1);
  fixture_assert_source(f, "resource-gather");
}

/* The host gets an exporter later: resources replace inline without a new session. */
static void test_exporter_comes(Fixture *f, gconstpointer data) {
  peer_set(f->peer, faults, PEER_NO_RESOURCES);
  fixture_harness(f, NULL);
  fixture_encode(f, 0, 3);
  fixture_assert_source(f, "inline");
  g_assert_cmpuint(fixture_count_warnings(f, "no exporter"), ==, 1);
  peer_set(f->peer, faults, 0);
  fixture_push_until_source(f, "resource-copy", 3);
  g_assert_cmpuint(fixture_stat(f, "sessions"), ==, 1);
}

/* The host returns without an exporter: frames that were in flight are sent inline. */
static void test_exporter_goes(Fixture *f, gconstpointer data) {
  fixture_harness(f, "max-in-flight=4");
  peer_set(f->peer, faults, PEER_NO_ANSWERS);
  fixture_push(f, 0, 4);
  peer_kill(g_steal_pointer(&f->peer));
  fixture_peer(f, PEER_NO_RESOURCES);
  fixture_pull(f, 0, 4);
  fixture_assert_source(f, "inline");
  g_assert_cmpuint(peer_counts(f->peer).frames_inline, ==, 4);
  g_assert_cmpuint(fixture_stat(f, "dropped-encoder"), ==, 0);
}

/* DmaBufs of the device and others, with a host without exporter: read by the CPU. */
static void test_dmabufs_inline(Fixture *f, gconstpointer data) {
  peer_set(f->peer, faults, PEER_NO_RESOURCES);
  fixture_harness(f, NULL);
  for (guint i = 0; i < 2; i++) {
    g_autoptr(GstBuffer) pixels = fixture_noise(FRAME_BYTES, i);
    guint8 bytes[FRAME_BYTES];
    int fd = i == 0 ? fake_gpu_new_dmabuf(FRAME_BYTES) : plain_file(FRAME_BYTES);
    gst_buffer_extract(pixels, 0, bytes, FRAME_BYTES);
    g_assert_cmpint(pwrite(fd, bytes, FRAME_BYTES, 0), ==, FRAME_BYTES);
    fixture_push_buffer(f, fixture_dmabuf(i, fd, FRAME_BYTES));
    fixture_pull(f, i, 1);
    assert_pixels(f, i + 1, crc_of(pixels));
  }
}

/* A frame in a DmaBuf of the device, which is kept open in `fd`. */
static GstBuffer *gpu_frame(guint number, int fd) {
  return fixture_dmabuf(number, dup(fd), FRAME_BYTES);
}

/* An element that cannot ask whether DmaBufs are rendered warns that they may be black. */
static void test_denied_gpu(Fixture *f, gconstpointer data) {
  set_gpu(&denied_gpu);
  fixture_harness(f, NULL);
  fixture_encode(f, 0, 1);
  g_assert_cmpuint(fixture_count_warnings(f, "rendered are black"), ==, 1);
}

typedef struct {
  const VencGpuOps *gpu;
  const gchar *properties;
  vsockenc_Content expected; /* of DmaBufs */
} ContentCase;

static const ContentCase content_2d = {&fake_gpu, "content=rendered", vsockenc_Content_PAGES};
static const ContentCase content_auto = {&fake_3d_gpu, NULL, vsockenc_Content_CONTENT_UNSPECIFIED};
static const ContentCase content_pages = {&fake_3d_gpu, "content=pages", vsockenc_Content_PAGES};
static const ContentCase content_rendered = {&fake_3d_gpu, "content=rendered",
                                             vsockenc_Content_RENDERED};

/*
 * Without 3D everything is in pages, and so is what the CPU drew into the element's own memory. Of
 * other DmaBufs the property decides; a guess is reported once.
 */
static void test_content(Fixture *f, gconstpointer data) {
  const ContentCase *test = data;
  guint infos = 0;
  set_gpu(test->gpu);
  fixture_harness(f, test->properties);
  fixture_encode(f, 0, 1);
  g_assert_cmpuint(peer_counts(f->peer).attach.content, ==, vsockenc_Content_PAGES);
  for (guint i = 1; i < 3; i++) {
    fixture_push_buffer(f, fixture_dmabuf(i, fake_gpu_new_dmabuf(FRAME_BYTES), FRAME_BYTES));
    fixture_pull(f, i, 1);
    g_assert_cmpuint(peer_counts(f->peer).attach.content, ==, test->expected);
  }
  for (GstMessage *message; (message = gst_bus_pop_filtered(f->bus, GST_MESSAGE_INFO)); infos++)
    gst_message_unref(message);
  g_assert_cmpuint(infos, ==, test->expected == vsockenc_Content_CONTENT_UNSPECIFIED ? 1 : 0);
}

/* A host without exporter, and frames that the CPU reads as black, or may. */
static void test_black(Fixture *f, gconstpointer properties) {
  set_gpu(&fake_3d_gpu);
  peer_set(f->peer, faults, PEER_NO_RESOURCES);
  fixture_harness(f, properties);
  gst_harness_push(f->harness, fixture_dmabuf(0, fake_gpu_new_dmabuf(FRAME_BYTES), FRAME_BYTES));
  fixture_expect(f, GST_MESSAGE_ERROR, "as black", "content=pages");
}

/* Frames that the CPU reads right: pages, blobs of the host, DmaBufs of other devices. */
static void test_not_black(Fixture *f, gconstpointer data) {
  set_gpu(&fake_3d_gpu);
  peer_set(f->peer, faults, PEER_NO_RESOURCES);
  fixture_harness(f, data);
  if (!data) fake_gpu_make_blobs(VENC_BLOB_HOST3D);
  fixture_push_buffer(f, fixture_dmabuf(0, fake_gpu_new_dmabuf(FRAME_BYTES), FRAME_BYTES));
  fixture_push_buffer(f, fixture_dmabuf(1, plain_file(FRAME_BYTES), FRAME_BYTES));
  fixture_push(f, 2, 1);
  fixture_pull(f, 0, 3);
  g_assert_cmpuint(peer_counts(f->peer).frames_inline, ==, 3);
}

/* The property is about DmaBufs: without a GPU other frames go inline. */
static void test_rendered_no_gpu(Fixture *f, gconstpointer data) {
  open_without_gpu(f, "content=rendered", CAPS);
  fixture_encode(f, 0, 1);
  gst_harness_push(f->harness, fixture_dmabuf(1, plain_file(FRAME_BYTES), FRAME_BYTES));
  fixture_expect(f, GST_MESSAGE_ERROR, "as black", NULL);
}

/* A host that has read rendered frames loses its exporter: they wait for it, none is lost. */
static void test_rendered_waits(Fixture *f, gconstpointer data) {
  set_gpu(&fake_3d_gpu);
  peer_set(f->peer, faults, PEER_READ);
  fixture_harness(f, "content=rendered");
  int fd = fake_gpu_new_dmabuf(FRAME_BYTES);
  fixture_push_buffer(f, gpu_frame(0, fd));
  fixture_pull(f, 0, 1);
  fixture_assert_source(f, "resource-read");
  peer_kill(g_steal_pointer(&f->peer));
  fixture_peer(f, PEER_NO_RESOURCES);
  fixture_push_buffer(f, gpu_frame(1, fd));
  fixture_expect(f, GST_MESSAGE_WARNING, "no exporter", NULL);
  peer_set(f->peer, faults, PEER_READ);
  fixture_pull(f, 1, 1);
  g_assert_cmpuint(peer_counts(f->peer).frames_inline, ==, 0);
  fixture_assert_no_error(f);
  close(fd);
}

static gint fence_timeouts;

static void count_timeouts(GstDebugCategory *category, GstDebugLevel level, const gchar *file,
                           const gchar *function, gint line, GObject *object,
                           GstDebugMessage *message, gpointer data) {
  if (strstr(gst_debug_message_get(message), "still written to")) g_atomic_int_inc(&fence_timeouts);
}

/*
 * Frames of a GPU that has not finished: what the host copies is sent at once, as its commands come
 * first, but not a blob of the host's memory, nor pages.
 */
static void test_order(Fixture *f, gconstpointer data) {
  const guint faults = GPOINTER_TO_UINT(data);
  int writer, fd = fake_gpu_new_busy_dmabuf(FRAME_BYTES, &writer);
  gchar byte = 'x';
  if (faults & PEER_READ && faults != PEER_READ) fake_gpu_make_blobs(VENC_BLOB_HOST3D);
  set_gpu(&fake_3d_gpu);
  peer_set(f->peer, faults, faults & PEER_READ);
  fixture_harness(f, "content=rendered");
  g_assert_cmpint(write(writer, &byte, 1), ==, 1); /* idle, until it is known how the host reads */
  fixture_push_buffer(f, gpu_frame(0, fd));
  fixture_pull(f, 0, 1);
  g_assert_cmpint(read(fd, &byte, 1), ==, 1);
  g_atomic_int_set(&fence_timeouts, 0);
  gst_debug_add_log_function(count_timeouts, NULL, NULL);
  gst_debug_set_threshold_for_name("vsockenc", GST_LEVEL_WARNING);
  fixture_push_buffer(f, gpu_frame(1, fd));
  gst_debug_remove_log_function(count_timeouts);
  fixture_pull(f, 1, 1);
  g_assert_cmpint(g_atomic_int_get(&fence_timeouts), ==, faults == PEER_READ ? 0 : 1);
  close(writer);
  close(fd);
}

/* Neither the host nor the CPU can read it: an error. */
static void test_unreadable(Fixture *f, gconstpointer data) {
  int ends[2];
  g_assert_cmpint(pipe(ends), ==, 0);
  g_assert_cmpint(write(ends[1], "x", 1), ==, 1); /* no writer is busy */
  fixture_harness(f, NULL);
  g_assert_cmpint(gst_harness_push(f->harness, fixture_dmabuf(0, ends[0], FRAME_BYTES)), ==,
                  GST_FLOW_ERROR);
  fixture_expect(f, GST_MESSAGE_ERROR, "neither by the host nor by the CPU", NULL);
  close(ends[1]);
}

static gpointer push_one(gpointer data) {
  Fixture *f = data;
  g_autoptr(GstBuffer) buffer = fixture_noise(LARGE_BYTES, 1);
  gst_harness_push(f->harness, gst_buffer_ref(buffer));
  gst_harness_push(f->harness, gst_buffer_ref(buffer));
  return NULL;
}

/* A host that stops reading in mid-picture blocks nothing. */
static void test_stuck_pixels(Fixture *f, gconstpointer data) {
  open_without_gpu(f, "drop=never max-in-flight=1", LARGE);
  peer_set(f->peer, faults, PEER_NO_CREDIT);
  GThread *pusher = g_thread_new("pusher", push_one, f);
  while (peer_counts(f->peer).pixel_bytes == 0) g_usleep(1000);
  gst_element_set_state(f->element, GST_STATE_NULL);
  g_thread_join(pusher);
}

/* A flush in mid-picture: the rest of it is sent, and the next stream is complete. */
static void test_flush_pixels(Fixture *f, gconstpointer data) {
  open_without_gpu(f, NULL, LARGE);
  peer_set(f->peer, faults, PEER_NO_CREDIT);
  fixture_push_buffer(f, fixture_noise(LARGE_BYTES, 0));
  while (peer_counts(f->peer).pixel_bytes == 0) g_usleep(1000);
  fixture_flush(f);
  peer_set(f->peer, faults, 0);
  peer_grant(f->peer);
  encode_large(f, 7, 2);
  g_assert_cmpuint(fixture_stat(f, "sessions"), ==, 1);
}

/* The host drops a frame before all of it has arrived; the next one is complete. */
static void test_early_drop(Fixture *f, gconstpointer data) {
  peer_set(f->peer, faults, PEER_EARLY_DROP);
  open_without_gpu(f, NULL, LARGE);
  fixture_push_buffer(f, fixture_noise(LARGE_BYTES, 0));
  fixture_wait_stat(f, "dropped-encoder", 1);
  peer_set(f->peer, faults, 0);
  encode_large(f, 1, 2);
  g_assert_cmpuint(fixture_stat(f, "sessions"), ==, 1);
}

static gpointer push_busy(gpointer data) {
  Fixture *f = data;
  int writer, fd = fake_gpu_new_busy_dmabuf(FRAME_BYTES, &writer);
  gst_harness_push(f->harness, fixture_dmabuf(0, fd, FRAME_BYTES));
  close(writer);
  return NULL;
}

/* Waiting for the producer of a DmaBuf ends with the stream; after the whole wait it would be sent.
 */
static void test_busy_dmabuf(Fixture *f, gconstpointer data) {
  fixture_harness(f, NULL);
  for (guint i = 0; i < 2; i++) {
    GThread *pusher = g_thread_new("pusher", push_busy, f);
    fixture_wait_stat(f, "frames-in", i + 1);
    if (i == 0)
      gst_harness_push_event(f->harness, gst_event_new_flush_start());
    else
      gst_element_set_state(f->element, GST_STATE_READY);
    g_thread_join(pusher);
    if (i == 0) fixture_flush_stop(f);
  }
  g_assert_cmpuint(peer_counts(f->peer).frames, ==, 0);
}

static void add(void) {
  TEST("/source/no-gpu", test_no_gpu);
  TEST("/source/no-gpu-padded", test_no_gpu_padded);
  TEST("/source/copy", test_copy);
  TEST("/source/gather", test_gather);
  TEST("/source/exporter-comes", test_exporter_comes);
  TEST("/source/exporter-goes", test_exporter_goes);
  TEST("/source/dmabufs-inline", test_dmabufs_inline);
  TEST("/source/denied-gpu", test_denied_gpu);
  TEST_WITH("/source/content/2d", test_content, &content_2d);
  TEST_WITH("/source/content/auto", test_content, &content_auto);
  TEST_WITH("/source/content/pages", test_content, &content_pages);
  TEST_WITH("/source/content/rendered", test_content, &content_rendered);
  TEST_WITH("/source/black/auto", test_black, NULL);
  TEST_WITH("/source/black/rendered", test_black, "content=rendered");
  TEST_WITH("/source/black/pages", test_not_black, "content=pages");
  TEST_WITH("/source/black/blobs", test_not_black, NULL);
  TEST("/source/black/no-gpu", test_rendered_no_gpu);
  TEST("/source/black/waits", test_rendered_waits);
  TEST_WITH("/source/order/read", test_order, GUINT_TO_POINTER(PEER_READ));
  TEST_WITH("/source/order/blob", test_order, GUINT_TO_POINTER(PEER_READ | PEER_GATHER));
  TEST_WITH("/source/order/pages", test_order, NULL);
  TEST("/source/unreadable", test_unreadable);
  TEST("/source/stuck-pixels", test_stuck_pixels);
  TEST("/source/flush-pixels", test_flush_pixels);
  TEST("/source/early-drop", test_early_drop);
  TEST("/source/busy-dmabuf", test_busy_dmabuf);
}

TEST_MAIN(add)
