/* The element with a working host: encoding, buffers, formats, events, states. */
#include <gst/allocators/allocators.h>
#include <gst/video/video.h>
#include <unistd.h>

#include "fake-gpu.h"
#include "fixture.h"

static void test_encode(Fixture *f, gconstpointer data) {
  fixture_harness(f, "bitrate=1234");
  fixture_push(f, 0, 30);
  fixture_pull(f, 0, 29);
  g_autoptr(GstBuffer) last = gst_harness_pull(f->harness);
  g_assert_false(fixture_is_key(last));
  PeerCounts counts = peer_counts(f->peer);
  g_assert_cmpuint(counts.frames, ==, 30);
  g_assert_cmpuint(counts.most_in_flight, <=, 2);
  g_assert_cmpuint(counts.configure.bitrate_kbps, ==, 1234);
  g_assert_cmpuint(counts.attach.fourcc, ==, 0x34325258);
  g_assert_cmpuint(fixture_stat(f, "frames-copied"), ==, 30);
  g_assert_cmpuint(fixture_stat(f, "frame-bytes-sent"), <=, 30 * 128);

  const GstStructure *output = fixture_output(f);
  g_assert_cmpstr(gst_structure_get_string(output, "profile"), ==, "constrained-baseline");
  g_assert_cmpstr(gst_structure_get_string(output, "level"), ==, "1");
  g_assert_cmpint(fixture_output_int(f, "width"), ==, 64);
}

/* Output does not wait for the next input. */
static void test_single_frame(Fixture *f, gconstpointer data) {
  fixture_harness(f, NULL);
  fixture_push(f, 0, 1);
  gst_buffer_unref(fixture_pull_key(f, 0));
}

static gpointer answer(gpointer peer) {
  while (peer_counts(peer).drains == 0) g_usleep(1000);
  peer_set((Peer *)peer, faults, 0);
  return NULL;
}

/* EOS waits for frames that the host has not answered. */
static void test_eos_drains(Fixture *f, gconstpointer data) {
  peer_set(f->peer, faults, PEER_NO_ANSWERS);
  fixture_harness(f, "max-in-flight=4");
  fixture_push(f, 0, 4);
  GThread *host = g_thread_new("host", answer, f->peer);
  fixture_push_eos(f);
  g_assert_cmpuint(gst_harness_buffers_received(f->harness), ==, 4);
  g_thread_join(host);
}

static void test_eos_before_data(Fixture *f, gconstpointer data) {
  fixture_harness(f, NULL);
  fixture_push_eos(f);
  g_assert_cmpuint(gst_harness_buffers_received(f->harness), ==, 0);
}

static void test_reuse(Fixture *f, gconstpointer data) {
  fixture_open(f, NULL, NULL);
  for (guint i = 0; i < 10; i++) fixture_run_stream(f, i % 2 ? GST_STATE_NULL : GST_STATE_READY);
}

static void test_force_key_unit(Fixture *f, gconstpointer data) {
  fixture_harness(f, NULL);
  fixture_push(f, 0, 3);
  fixture_force_key_unit(f);
  fixture_push(f, 3, 1);
  fixture_pull(f, 0, 3);
  gst_buffer_unref(fixture_pull_key(f, 3));
}

static void test_flush(Fixture *f, gconstpointer data) {
  fixture_harness(f, NULL);
  peer_set(f->peer, faults, PEER_NO_ANSWERS);
  fixture_push(f, 0, 2);
  fixture_flush(f);
  peer_set(f->peer, faults, 0);
  fixture_push(f, 0, 3);
  gst_buffer_unref(fixture_pull_key(f, 0));
  fixture_pull(f, 1, 2);
  g_assert_cmpuint(fixture_stat(f, "dropped-flushed"), ==, 2);
}

static void test_resolution_change(Fixture *f, gconstpointer data) {
  fixture_harness(f, NULL);
  fixture_push(f, 0, 3);
  gst_harness_set_src_caps_str(f->harness,
                               "video/x-raw,format=RGBA,width=65,height=33,framerate=0/1");
  fixture_push_buffer(f, fixture_noise(65 * 33 * 4, 3));
  fixture_pull(f, 0, 4);
  g_assert_cmpuint(peer_counts(f->peer).configure.width, ==, 65);
  g_assert_cmpuint(peer_counts(f->peer).attach.fourcc, ==, 0x34324241);
  g_assert_cmpint(fixture_output_int(f, "width"), ==, 66);
}

static void test_live_change(Fixture *f, gconstpointer data) {
  fixture_harness(f, "bitrate=1000");
  fixture_push(f, 0, 2);
  g_object_set(f->element, "bitrate", 2000, NULL);
  fixture_push(f, 2, 2);
  fixture_pull(f, 0, 4);
  g_assert_cmpuint(peer_counts(f->peer).configure.bitrate_kbps, ==, 2000);
  g_assert_cmpuint(peer_counts(f->peer).configures, ==, 2);
}

/* Eight dma-bufs in rotation: eight look-ups, and then none. */
static void test_dmabufs(Fixture *f, gconstpointer data) {
  GstBuffer *ring[8];
  fixture_harness(f, NULL);
  gst_harness_set_src_caps_str(
      f->harness, "video/x-raw(memory:DMABuf),format=BGRx,width=64,height=48,framerate=30/1");
  for (guint i = 0; i < G_N_ELEMENTS(ring); i++) {
    ring[i] = fixture_dmabuf(i, fake_gpu_new_dmabuf(65536), 65536);
    gsize offset[4] = {256};
    gint stride[4] = {320};
    gst_buffer_add_video_meta_full(ring[i], GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_FORMAT_BGRx, 64,
                                   48, 1, offset, stride);
  }
  for (guint i = 0; i < 100; i++) {
    fixture_push_buffer(f, fixture_stamp(gst_buffer_copy(ring[i % G_N_ELEMENTS(ring)]), i));
  }
  fixture_pull(f, 0, 100);
  g_assert_cmpuint(fake_gpu_counts().imports, ==, 8);
  g_assert_cmpuint(fake_gpu_counts().infos, ==, 8);
  g_assert_cmpuint(fixture_stat(f, "attaches"), ==, 8);
  g_assert_cmpuint(fixture_stat(f, "frames-copied"), ==, 0);
  g_assert_cmpuint(peer_counts(f->peer).attach.planes[0].stride, ==, 320);
  for (guint i = 0; i < G_N_ELEMENTS(ring); i++) gst_buffer_unref(ring[i]);
}

/* More buffers than can be attached: the least recently used are detached. */
static void test_many_dmabufs(Fixture *f, gconstpointer data) {
  fixture_harness(f, NULL);
  for (guint i = 0; i < 200; i++)
    fixture_push_buffer(f, fixture_dmabuf(i, fake_gpu_new_dmabuf(16384), 16384));
  fixture_pull(f, 0, 200);
  g_assert_cmpuint(peer_counts(f->peer).attaches, ==, 200);
  g_assert_cmpuint(peer_counts(f->peer).most_attached, <=, 64);
}

/* A dma-buf of another device is copied; a layout that exceeds the memory is rejected. */
static void test_foreign_dmabuf(Fixture *f, gconstpointer data) {
  int fd = g_file_open_tmp("vsockenc-XXXXXX", NULL, NULL);
  g_assert_cmpint(ftruncate(fd, FRAME_BYTES), ==, 0);
  fixture_harness(f, NULL);
  fixture_push_buffer(f, fixture_dmabuf(0, fd, FRAME_BYTES));
  fixture_pull(f, 0, 1);
  g_assert_cmpuint(fixture_stat(f, "frames-copied"), ==, 1);
  GstBuffer *small = fixture_dmabuf(1, fake_gpu_new_dmabuf(4096), FRAME_BYTES);
  g_assert_cmpint(gst_harness_push(f->harness, small), ==, GST_FLOW_ERROR);
  fixture_expect(f, GST_MESSAGE_ERROR, "does not lie inside", NULL);
}

/* Upstream uses the proposed pool and so writes into resources: no copies. */
static void test_pool(Fixture *f, gconstpointer data) {
  g_autoptr(GstElement) pipeline =
      fixture_play(f, "20 ! video/x-raw,format=BGRx,width=320,height=240", "sync=false");
  fixture_wait_eos(pipeline);
  g_assert_cmpuint(fixture_stat(f, "frames-encoded"), ==, 20);
  g_assert_cmpuint(fixture_stat(f, "frames-copied"), ==, 0);
  gst_element_set_state(pipeline, GST_STATE_NULL);
}

static void test_missing_times(Fixture *f, gconstpointer data) {
  GstClockTime last = 0;
  fixture_harness(f, NULL);
  for (guint i = 0; i < 6; i++) {
    GstBuffer *buffer = fixture_frame(i);
    GST_BUFFER_PTS(buffer) = i % 2 ? 0 : GST_CLOCK_TIME_NONE;
    fixture_push_buffer(f, buffer);
  }
  for (guint i = 0; i < 6; i++) {
    g_autoptr(GstBuffer) buffer = gst_harness_pull(f->harness);
    if (i > 0) g_assert_cmpuint(GST_BUFFER_PTS(buffer), >, last);
    last = GST_BUFFER_PTS(buffer);
  }
}

static const gchar *const FORMATS[] = {"BGRx", "BGRA", "RGBx", "RGBA", "xRGB",
                                       "ARGB", "xBGR", "ABGR", "NV12", "I420"};

/* Every format in memory of the element's own: one resource, all planes in it, the right matrix. */
static void test_formats(Fixture *f, gconstpointer data) {
  PeerCounts counts;
  fixture_harness(f, NULL);
  for (guint i = 0; i < G_N_ELEMENTS(FORMATS); i++) {
    GstVideoInfo info;
    g_autofree gchar *text =
        g_strdup_printf("video/x-raw,format=%s,width=66,height=34,framerate=30/1", FORMATS[i]);
    gst_harness_set_src_caps_str(f->harness, text);
    gst_video_info_set_format(&info, gst_video_format_from_string(FORMATS[i]), 66, 34);
    fixture_push_buffer(f, fixture_noise(info.size, i));
    fixture_pull(f, i, 1);
    counts = peer_counts(f->peer);
    g_assert_cmpuint(counts.attach.planes_count, ==, info.finfo->n_planes);
    g_assert_cmpuint(counts.configure.colorimetry.matrix, ==, GST_VIDEO_INFO_IS_YUV(&info) ? 6 : 0);
    for (guint plane = 0; plane < counts.attach.planes_count; plane++) {
      g_assert_cmpuint(counts.attach.planes[plane].resource, ==, counts.attach.planes[0].resource);
      g_assert_cmpuint(counts.attach.planes[plane].offset, ==, info.offset[plane]);
      g_assert_cmpuint(counts.attach.planes[plane].stride, ==, (guint)info.stride[plane]);
    }
  }
}

/* Planes in memories of their own: each dma-buf has its own resource, offsets are the resource's.
 */
static void test_planes_apart(Fixture *f, gconstpointer data) {
  g_autoptr(GstAllocator) allocator = gst_dmabuf_allocator_new();
  fixture_harness(f, NULL);
  gst_harness_set_src_caps_str(
      f->harness, "video/x-raw(memory:DMABuf),format=I420,width=64,height=48,framerate=30/1");
  GstBuffer *buffer = gst_buffer_new();
  gsize offset[4] = {0}, at = 0;
  gint stride[4] = {64, 32, 32};
  for (guint i = 0; i < 3; i++) {
    GstMemory *memory =
        gst_dmabuf_allocator_alloc(allocator, fake_gpu_new_dmabuf(65536), 65536 - 256 * i);
    /* As a part of a larger buffer that does not begin at its first byte. */
    gst_memory_resize(memory, 256 * (gssize)i, 8192);
    gst_buffer_append_memory(buffer, memory);
    offset[i] = at;
    at += 8192;
  }
  gst_buffer_add_video_meta_full(buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_FORMAT_I420, 64, 48,
                                 3, offset, stride);
  fixture_push_buffer(f, fixture_stamp(buffer, 0));
  fixture_pull(f, 0, 1);
  PeerCounts counts = peer_counts(f->peer);
  g_assert_cmpuint(counts.attach.planes_count, ==, 3);
  for (guint i = 0; i < 3; i++) {
    g_assert_cmpuint(counts.attach.planes[i].resource, ==, counts.attach.planes[0].resource + i);
    g_assert_cmpuint(counts.attach.planes[i].offset, ==, 256 * i);
    g_assert_cmpuint(counts.attach.planes[i].stride, ==, i == 0 ? 64 : 32);
  }
  g_assert_cmpuint(fixture_stat(f, "frames-copied"), ==, 0);
}

static void test_no_growth(Fixture *f, gconstpointer data) {
  FixtureUsage before = {0};
  fixture_open(f, NULL, NULL);
  for (guint i = 0; i < 100; i++) {
    fixture_run_stream(f, GST_STATE_NULL);
    if (i == 10) before = fixture_usage(0);
  }
  FixtureUsage after = fixture_usage(before.threads + 1);
  g_assert_cmpuint(after.descriptors, <=, before.descriptors + 1);
  g_assert_cmpuint(after.threads, <=, before.threads + 1);
}

static void add(void) {
  TEST("/element/encode", test_encode);
  TEST("/element/single-frame", test_single_frame);
  TEST("/element/eos-drains", test_eos_drains);
  TEST("/element/eos-before-data", test_eos_before_data);
  TEST("/element/reuse", test_reuse);
  TEST("/element/force-key-unit", test_force_key_unit);
  TEST("/element/flush", test_flush);
  TEST("/element/resolution-change", test_resolution_change);
  TEST("/element/live-change", test_live_change);
  TEST("/element/dmabufs", test_dmabufs);
  TEST("/element/many-dmabufs", test_many_dmabufs);
  TEST("/element/foreign-dmabuf", test_foreign_dmabuf);
  TEST("/element/pool", test_pool);
  TEST("/element/formats", test_formats);
  TEST("/element/planes-apart", test_planes_apart);
  TEST("/element/missing-times", test_missing_times);
  TEST("/element/no-growth", test_no_growth);
}

TEST_MAIN(add)
