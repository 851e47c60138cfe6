/* By which way the pixels reach the host, and what the element says of it. */
#include <gst/allocators/allocators.h>
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
  GstVsockEncClass *klass = g_type_class_peek(GST_TYPE_VSOCK_ENC);
  klass->gpu_ops = ops;
}

static void assert_source(Fixture *f, const gchar *nick) {
  g_autofree gchar *source = fixture_source(f);
  g_assert_cmpstr(source, ==, nick);
}

/* Bytes that repeat nowhere, so that no row can stand for another. */
static GstBuffer *noise(gsize size, guint number) {
  GstBuffer *buffer = gst_buffer_new_allocate(NULL, size, NULL);
  GstMapInfo map;
  gst_buffer_map(buffer, &map, GST_MAP_WRITE);
  guint32 state = number + 1;
  for (gsize i = 0; i < size; i++)
    map.data[i] = (guint8)((state = state * 1664525u + 1013904223u) >> 24);
  gst_buffer_unmap(buffer, &map);
  GST_BUFFER_PTS(buffer) = number * GST_SECOND / 30;
  return buffer;
}

static guint32 crc_of(GstBuffer *buffer) {
  GstMapInfo map;
  gst_buffer_map(buffer, &map, GST_MAP_READ);
  uLong crc = crc32(crc32(0, NULL, 0), map.data, (uInt)map.size);
  gst_buffer_unmap(buffer, &map);
  return (guint32)crc;
}

/* A dma-buf with the bytes of `buffer`. */
static GstBuffer *in_dmabuf(GstBuffer *buffer, int fd) {
  g_autoptr(GstAllocator) allocator = gst_dmabuf_allocator_new();
  gsize size = gst_buffer_get_size(buffer);
  GstBuffer *result = gst_buffer_new();
  GstMapInfo map;
  gst_buffer_map(buffer, &map, GST_MAP_READ);
  g_assert_cmpint(pwrite(fd, map.data, size, 0), ==, (gssize)size);
  gst_buffer_unmap(buffer, &map);
  gst_buffer_append_memory(result, gst_dmabuf_allocator_alloc(allocator, fd, size));
  GST_BUFFER_PTS(result) = GST_BUFFER_PTS(buffer);
  return result;
}

static int plain_file(gsize size) {
  g_autofree gchar *path = NULL;
  int fd = g_file_open_tmp("vsockenc-XXXXXX", &path, NULL);
  g_assert_cmpint(ftruncate(fd, (off_t)size), ==, 0);
  unlink(path);
  return fd;
}

static void assert_pixels(Fixture *f, guint frames, guint32 crc) {
  PeerCounts counts;
  peer_get_counts(f->peer, &counts);
  g_assert_cmpuint(counts.frames_inline, ==, frames);
  g_assert_cmphex(counts.last_crc, ==, crc);
}

/* Frames many times larger than the window, each whole. */
static void test_no_gpu(Fixture *f, gconstpointer data) {
  (void)data;
  set_gpu(&no_gpu);
  fixture_harness(f, NULL);
  gst_harness_set_src_caps_str(f->harness, LARGE);
  for (guint i = 0; i < 5; i++) {
    g_autoptr(GstBuffer) buffer = noise(LARGE_BYTES, i);
    g_assert_cmpint(gst_harness_push(f->harness, gst_buffer_ref(buffer)), ==, GST_FLOW_OK);
    fixture_pull(f, i, 1);
    assert_pixels(f, i + 1, crc_of(buffer));
  }
  assert_source(f, "inline");
  g_assert_cmpuint(fixture_stat(f, "frames-inline"), ==, 5);
  g_assert_cmpuint(fixture_stat(f, "frames-copied"), ==, 0);
  g_assert_cmpuint(fixture_stat(f, "pixel-bytes-sent"), ==, 5 * LARGE_BYTES);
  g_assert_cmpuint(fixture_count_warnings(f, "this machine has no virtio-gpu"), ==, 1);
  set_gpu(&fake_gpu);
}

/* What goes over the link has no padding, whatever the memory has. */
static void test_no_gpu_padded(Fixture *f, gconstpointer data) {
  gsize offset[4] = {128, 8192};
  gint stride[4] = {96, 80};
  GstMapInfo map;
  (void)data;
  set_gpu(&no_gpu);
  fixture_harness(f, NULL);
  gst_harness_set_src_caps_str(f->harness,
                               "video/x-raw,format=NV12,width=66,height=34,framerate=30/1");
  g_autoptr(GstBuffer) buffer = noise(16384, 0);
  gst_buffer_map(buffer, &map, GST_MAP_READ);
  uLong crc = crc32(0, NULL, 0);
  for (guint y = 0; y < 34; y++) crc = crc32(crc, map.data + 128 + 96 * y, 66);
  for (guint y = 0; y < 17; y++) crc = crc32(crc, map.data + 8192 + 80 * y, 66);
  gst_buffer_unmap(buffer, &map);
  gst_buffer_add_video_meta_full(buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_FORMAT_NV12, 66, 34,
                                 2, offset, stride);
  g_assert_cmpint(gst_harness_push(f->harness, gst_buffer_ref(buffer)), ==, GST_FLOW_OK);
  fixture_pull(f, 0, 1);
  assert_pixels(f, 1, (guint32)crc);
  g_assert_cmpuint(fixture_stat(f, "pixel-bytes-sent"), ==, 66 * 34 + 66 * 17);
  set_gpu(&fake_gpu);
}

static void test_copy(Fixture *f, gconstpointer data) {
  (void)data;
  fixture_harness(f, NULL);
  fixture_push(f, 0, 5);
  fixture_pull(f, 0, 5);
  assert_source(f, "resource-copy");
  g_assert_cmpuint(fixture_count_warnings(f, "did not take its pool"), ==, 1);
}

static void test_gather(Fixture *f, gconstpointer data) {
  (void)data;
  peer_set_faults(f->peer, PEER_GATHER);
  fixture_harness(f, NULL);
  fixture_push(f, 0, 1);
  fixture_pull(f, 0, 1);
  assert_source(f, "resource-gather");
}

/* The host has no exporter, then it has one: inline, and without a new session resources. */
static void test_exporter_comes(Fixture *f, gconstpointer data) {
  (void)data;
  peer_set_faults(f->peer, PEER_NO_RESOURCES);
  fixture_harness(f, NULL);
  fixture_push(f, 0, 3);
  fixture_pull(f, 0, 3);
  assert_source(f, "inline");
  g_assert_cmpuint(fixture_count_warnings(f, "no exporter"), ==, 1);
  peer_set_faults(f->peer, 0);
  fixture_push_until_source(f, "resource-copy", 3);
  g_assert_cmpuint(fixture_stat(f, "sessions"), ==, 1);
}

/* A host comes back without an exporter: the frames that were with the other go inline. */
static void test_exporter_goes(Fixture *f, gconstpointer data) {
  (void)data;
  fixture_harness(f, "max-in-flight=4");
  peer_set_delay(f->peer, 200);
  fixture_push(f, 0, 4);
  peer_kill(g_steal_pointer(&f->peer));
  fixture_peer(f, PEER_NO_RESOURCES);
  fixture_pull(f, 0, 4);
  assert_source(f, "inline");
  PeerCounts counts;
  peer_get_counts(f->peer, &counts);
  g_assert_cmpuint(counts.frames_inline, ==, 4);
  g_assert_cmpuint(fixture_stat(f, "dropped-encoder"), ==, 0);
}

/* DmaBufs of the device and of none, with a host that takes no resources: read by the CPU. */
static void test_dmabufs_inline(Fixture *f, gconstpointer data) {
  (void)data;
  peer_set_faults(f->peer, PEER_NO_RESOURCES);
  fixture_harness(f, NULL);
  for (guint i = 0; i < 2; i++) {
    g_autoptr(GstBuffer) pixels = noise(FRAME_BYTES, i);
    int fd = i == 0 ? fake_gpu_new_dmabuf(FRAME_BYTES) : plain_file(FRAME_BYTES);
    g_assert_cmpint(gst_harness_push(f->harness, in_dmabuf(pixels, fd)), ==, GST_FLOW_OK);
    fixture_pull(f, i, 1);
    assert_pixels(f, i + 1, crc_of(pixels));
  }
}

/* The CPU sees black where the host's GPU has drawn: nobody has to find that out by himself. */
static void test_inline_gpu(Fixture *f, gconstpointer is_3d) {
  set_gpu(is_3d ? &fake_3d_gpu : &fake_gpu);
  peer_set_faults(f->peer, PEER_NO_RESOURCES);
  fixture_harness(f, NULL);
  fixture_push(f, 0, 1);
  fixture_pull(f, 0, 1);
  g_assert_cmpuint(fixture_count_warnings(f, "black to the CPU"), ==, is_3d ? 1 : 0);
  set_gpu(&fake_gpu);
}

/* Neither the host nor the CPU can read it: an error that says so. */
static void test_unreadable(Fixture *f, gconstpointer data) {
  g_autoptr(GstAllocator) allocator = gst_dmabuf_allocator_new();
  int ends[2];
  (void)data;
  g_assert_cmpint(pipe(ends), ==, 0);
  g_assert_cmpint(write(ends[1], "x", 1), ==, 1); /* nobody writes to it */
  fixture_harness(f, NULL);
  GstBuffer *buffer = gst_buffer_new();
  gst_buffer_append_memory(buffer, gst_dmabuf_allocator_alloc(allocator, ends[0], FRAME_BYTES));
  g_assert_cmpint(gst_harness_push(f->harness, buffer), ==, GST_FLOW_ERROR);
  g_autoptr(GstMessage) message = fixture_wait_message(f, GST_MESSAGE_ERROR, 1);
  g_autofree gchar *text = fixture_error_text(message);
  g_assert_nonnull(strstr(text, "neither by the host nor by the CPU"));
  close(ends[1]);
}

static gpointer push_one(gpointer data) {
  Fixture *f = data;
  g_autoptr(GstBuffer) buffer = noise(LARGE_BYTES, 1);
  gst_harness_push(f->harness, gst_buffer_ref(buffer));
  gst_harness_push(f->harness, gst_buffer_ref(buffer));
  return NULL;
}

/* A host that stops reading in the middle of a picture holds up nothing. */
static void test_stuck_pixels(Fixture *f, gconstpointer data) {
  (void)data;
  set_gpu(&no_gpu);
  fixture_harness(f, "drop=never max-in-flight=1");
  gst_harness_set_src_caps_str(f->harness, LARGE);
  peer_set_faults(f->peer, PEER_NO_CREDIT);
  GThread *pusher = g_thread_new("pusher", push_one, f);
  g_usleep(200000);
  gst_element_set_state(f->element, GST_STATE_NULL);
  g_thread_join(pusher);
  set_gpu(&fake_gpu);
}

/* A flush in the middle of a picture: the rest of it is sent, and the next stream is whole. */
static void test_flush_pixels(Fixture *f, gconstpointer data) {
  GstSegment segment;
  PeerCounts counts;
  (void)data;
  set_gpu(&no_gpu);
  fixture_harness(f, NULL);
  gst_harness_set_src_caps_str(f->harness, LARGE);
  peer_set_faults(f->peer, PEER_NO_CREDIT);
  g_assert_cmpint(gst_harness_push(f->harness, noise(LARGE_BYTES, 0)), ==, GST_FLOW_OK);
  do {
    g_usleep(1000);
    peer_get_counts(f->peer, &counts);
  } while (counts.pixel_bytes == 0);
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_flush_start()));
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_flush_stop(TRUE)));
  peer_set_faults(f->peer, 0);
  peer_grant(f->peer);
  gst_segment_init(&segment, GST_FORMAT_TIME);
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_segment(&segment)));
  g_autoptr(GstBuffer) buffer = noise(LARGE_BYTES, 7);
  g_assert_cmpint(gst_harness_push(f->harness, gst_buffer_ref(buffer)), ==, GST_FLOW_OK);
  fixture_pull(f, 7, 1);
  assert_pixels(f, 2, crc_of(buffer));
  g_assert_cmpuint(fixture_stat(f, "sessions"), ==, 1);
  set_gpu(&fake_gpu);
}

/* A host that has no use for a frame says so before it has come whole; the next one is whole. */
static void test_early_drop(Fixture *f, gconstpointer data) {
  (void)data;
  set_gpu(&no_gpu);
  peer_set_faults(f->peer, PEER_EARLY_DROP);
  fixture_harness(f, NULL);
  gst_harness_set_src_caps_str(f->harness, LARGE);
  g_assert_cmpint(gst_harness_push(f->harness, noise(LARGE_BYTES, 0)), ==, GST_FLOW_OK);
  while (fixture_stat(f, "dropped-encoder") == 0) g_usleep(1000);
  peer_set_faults(f->peer, 0);
  g_autoptr(GstBuffer) buffer = noise(LARGE_BYTES, 1);
  g_assert_cmpint(gst_harness_push(f->harness, gst_buffer_ref(buffer)), ==, GST_FLOW_OK);
  fixture_pull(f, 1, 1);
  assert_pixels(f, 2, crc_of(buffer));
  g_assert_cmpuint(fixture_stat(f, "sessions"), ==, 1);
  set_gpu(&fake_gpu);
}

static gpointer push_busy(gpointer data) {
  Fixture *f = data;
  g_autoptr(GstAllocator) allocator = gst_dmabuf_allocator_new();
  int writer;
  GstBuffer *buffer = gst_buffer_new();
  gst_buffer_append_memory(
      buffer, gst_dmabuf_allocator_alloc(allocator, fake_gpu_new_busy_dmabuf(FRAME_BYTES, &writer),
                                         FRAME_BYTES));
  gst_harness_push(f->harness, buffer);
  close(writer);
  return NULL;
}

/*
 * Waiting for whoever draws into a DmaBuf ends when the stream does: after the whole wait the frame
 * would be sent.
 */
static void test_busy_dmabuf(Fixture *f, gconstpointer data) {
  PeerCounts counts;
  (void)data;
  fixture_harness(f, NULL);
  for (guint i = 0; i < 2; i++) {
    GThread *pusher = g_thread_new("pusher", push_busy, f);
    g_usleep(100000);
    if (i == 0) {
      gst_harness_push_event(f->harness, gst_event_new_flush_start());
      g_thread_join(pusher);
      gst_harness_push_event(f->harness, gst_event_new_flush_stop(TRUE));
      GstSegment segment;
      gst_segment_init(&segment, GST_FORMAT_TIME);
      gst_harness_push_event(f->harness, gst_event_new_segment(&segment));
    } else {
      gst_element_set_state(f->element, GST_STATE_READY);
      g_thread_join(pusher);
    }
  }
  peer_get_counts(f->peer, &counts);
  g_assert_cmpuint(counts.frames, ==, 0);
}

static void add(void) {
  TEST("/source/no-gpu", test_no_gpu);
  TEST("/source/no-gpu-padded", test_no_gpu_padded);
  TEST("/source/copy", test_copy);
  TEST("/source/gather", test_gather);
  TEST("/source/exporter-comes", test_exporter_comes);
  TEST("/source/exporter-goes", test_exporter_goes);
  TEST("/source/dmabufs-inline", test_dmabufs_inline);
  FAULT("/source/inline-2d", test_inline_gpu, FALSE);
  FAULT("/source/inline-3d", test_inline_gpu, TRUE);
  TEST("/source/unreadable", test_unreadable);
  TEST("/source/stuck-pixels", test_stuck_pixels);
  TEST("/source/flush-pixels", test_flush_pixels);
  TEST("/source/early-drop", test_early_drop);
  TEST("/source/busy-dmabuf", test_busy_dmabuf);
}

int main(int argc, char **argv) {
  return fixture_main(argc, argv, add);
}
