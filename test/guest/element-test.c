/* The element against a scripted relay (peer.c) and a virtio-gpu made of memfds (fake-gpu.c). */
#include <glib/gstdio.h>
#include <gst/allocators/allocators.h>
#include <gst/check/gstharness.h>
#include <gst/video/video.h>
#include <unistd.h>

#include "fake-gpu.h"
#include "gstvsockenc.h"
#include "peer.h"

#define CAPS "video/x-raw,format=BGRx,width=64,height=48,framerate=30/1"
#define FRAME_BYTES (64 * 48 * 4)

typedef struct {
  gchar *directory, *path;
  Peer *peer;
  GstElement *element;
  GstHarness *harness;
  GstBus *bus;
} Fixture;

static void fixture_peer(Fixture *f) {
  g_unlink(f->path);
  f->peer = peer_new(f->path);
}

/* `settings` are properties in gst-launch's words. A harness says that it is live, so that
 * drop=auto would drop. */
static void fixture_element(Fixture *f, const gchar *settings) {
  g_autofree gchar *text =
      g_strdup_printf("vsockenc name=encoder connect-timeout=2000 drop=never socket-path=%s %s",
                      f->path, settings ? settings : "");
  g_autoptr(GError) error = NULL;
  f->element = gst_parse_launch(text, &error);
  g_assert_no_error(error);
  f->bus = gst_bus_new();
  gst_element_set_bus(f->element, f->bus);
}

static void fixture_harness(Fixture *f, const gchar *settings) {
  fixture_element(f, settings);
  f->harness = gst_harness_new_with_element(f->element, "sink", "src");
  gst_harness_set_src_caps_str(f->harness, CAPS);
}

static void setup(Fixture *f, gconstpointer data) {
  (void)data;
  fake_gpu_reset();
  f->directory = g_dir_make_tmp("vsockenc-XXXXXX", NULL);
  f->path = g_build_filename(f->directory, "relay.sock", NULL);
  fixture_peer(f);
}

static void teardown(Fixture *f, gconstpointer data) {
  FakeGpuCounts gpu;
  PeerCounts counts;
  (void)data;
  if (f->harness) gst_harness_teardown(f->harness);
  if (f->element) {
    gst_element_set_state(f->element, GST_STATE_NULL);
    gst_element_set_bus(f->element, NULL);
    g_object_unref(f->element);
  }
  if (f->bus) {
    gst_bus_set_flushing(f->bus, TRUE);
    g_object_unref(f->bus);
  }
  if (f->peer) {
    peer_get_counts(f->peer, &counts);
    g_assert_cmpuint(counts.violations, ==, 0);
    peer_kill(f->peer);
  }
  fake_gpu_get_counts(&gpu);
  g_assert_cmpuint(gpu.open_handles, ==, 0);
  g_assert_cmpuint(gpu.mistakes, ==, 0);
  g_unlink(f->path);
  g_rmdir(f->directory);
  g_free(f->path);
  g_free(f->directory);
}

static GstBuffer *new_frame(guint number) {
  GstBuffer *buffer = gst_buffer_new_allocate(NULL, FRAME_BYTES, NULL);
  gst_buffer_memset(buffer, 0, (guint8)number, FRAME_BYTES);
  GST_BUFFER_PTS(buffer) = number * GST_SECOND / 30;
  GST_BUFFER_DURATION(buffer) = GST_SECOND / 30;
  return buffer;
}

static void push(Fixture *f, guint first, guint n) {
  for (guint i = first; i < first + n; i++)
    g_assert_cmpint(gst_harness_push(f->harness, new_frame(i)), ==, GST_FLOW_OK);
}

/* Pulls `n` buffers and checks their times. */
static void pull(Fixture *f, guint first, guint n) {
  for (guint i = first; i < first + n; i++) {
    g_autoptr(GstBuffer) buffer = gst_harness_pull(f->harness);
    g_assert_nonnull(buffer);
    g_assert_cmpuint(GST_BUFFER_PTS(buffer), ==, i * GST_SECOND / 30);
    g_assert_cmpuint(GST_BUFFER_DTS(buffer), ==, GST_BUFFER_PTS(buffer));
  }
}

static guint64 stat_of(Fixture *f, const gchar *field) {
  g_autoptr(GstStructure) stats = NULL;
  guint64 value = 0;
  guint small = 0;
  g_object_get(f->element, "stats", &stats, NULL);
  if (gst_structure_get_uint(stats, field, &small)) return small;
  g_assert_true(gst_structure_get_uint64(stats, field, &value));
  return value;
}

static GstMessage *wait_message(Fixture *f, GstMessageType type, guint seconds) {
  return gst_bus_timed_pop_filtered(f->bus, seconds * GST_SECOND, type);
}

static gchar *error_text(GstMessage *message) {
  g_autoptr(GError) error = NULL;
  gst_message_parse_error(message, &error, NULL);
  return g_strdup(error->message);
}

static void test_encode(Fixture *f, gconstpointer data) {
  (void)data;
  fixture_harness(f, "bitrate=1234");
  push(f, 0, 30);
  pull(f, 0, 29);
  g_autoptr(GstBuffer) last = gst_harness_pull(f->harness);
  g_assert_true(GST_BUFFER_FLAG_IS_SET(last, GST_BUFFER_FLAG_DELTA_UNIT));

  PeerCounts counts;
  peer_get_counts(f->peer, &counts);
  g_assert_cmpuint(counts.frames, ==, 30);
  g_assert_cmpuint(counts.most_in_flight, <=, 2);
  g_assert_cmpuint(counts.bitrate_kbps, ==, 1234);
  g_assert_cmpuint(counts.last_fourcc, ==, 0x34325258);
  g_assert_cmpuint(stat_of(f, "frames-copied"), ==, 30);
  g_assert_cmpuint(stat_of(f, "frame-bytes-sent"), <=, 30 * 128);

  g_autoptr(GstCaps) caps = gst_pad_get_current_caps(f->harness->sinkpad);
  g_autofree gchar *text = gst_caps_to_string(caps);
  g_assert_nonnull(strstr(text, "profile=(string)constrained-baseline"));
  g_assert_nonnull(strstr(text, "level=(string)3"));
  g_assert_nonnull(strstr(text, "width=(int)64"));
}

/* Output must not wait for the next input. */
static void test_single_frame(Fixture *f, gconstpointer data) {
  (void)data;
  fixture_harness(f, NULL);
  push(f, 0, 1);
  g_autoptr(GstBuffer) buffer = gst_harness_pull(f->harness);
  g_assert_nonnull(buffer);
  g_assert_false(GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT));
}

static void test_eos_drains(Fixture *f, gconstpointer data) {
  (void)data;
  peer_set_delay(f->peer, 50);
  fixture_harness(f, "max-in-flight=4");
  push(f, 0, 4);
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_eos()));
  g_assert_cmpuint(gst_harness_buffers_received(f->harness), ==, 4);
}

static void test_eos_before_data(Fixture *f, gconstpointer data) {
  (void)data;
  fixture_harness(f, NULL);
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_eos()));
  g_assert_cmpuint(gst_harness_buffers_received(f->harness), ==, 0);
}

/* A stream from its start to the element's return to `state`. */
static void run_stream(Fixture *f, GstState state) {
  gst_element_set_state(f->element, GST_STATE_PLAYING);
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_stream_start("test")));
  gst_harness_set_src_caps_str(f->harness, CAPS);
  push(f, 0, 3);
  pull(f, 0, 3);
  gst_element_set_state(f->element, state);
}

static void test_reuse(Fixture *f, gconstpointer data) {
  (void)data;
  fixture_element(f, NULL);
  f->harness = gst_harness_new_with_element(f->element, "sink", "src");
  for (guint i = 0; i < 10; i++) run_stream(f, i % 2 ? GST_STATE_NULL : GST_STATE_READY);
}

static void test_force_key_unit(Fixture *f, gconstpointer data) {
  (void)data;
  fixture_harness(f, NULL);
  push(f, 0, 3);
  gst_harness_push_upstream_event(
      f->harness, gst_video_event_new_upstream_force_key_unit(GST_CLOCK_TIME_NONE, TRUE, 1));
  push(f, 3, 1);
  pull(f, 0, 3);
  g_autoptr(GstBuffer) key = gst_harness_pull(f->harness);
  g_assert_false(GST_BUFFER_FLAG_IS_SET(key, GST_BUFFER_FLAG_DELTA_UNIT));
}

static void test_flush(Fixture *f, gconstpointer data) {
  (void)data;
  fixture_harness(f, NULL);
  peer_set_faults(f->peer, PEER_NO_ANSWERS);
  push(f, 0, 2);
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_flush_start()));
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_flush_stop(TRUE)));
  peer_set_faults(f->peer, 0);
  GstSegment segment;
  gst_segment_init(&segment, GST_FORMAT_TIME);
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_segment(&segment)));
  push(f, 0, 3);
  g_autoptr(GstBuffer) first = gst_harness_pull(f->harness);
  g_assert_cmpuint(GST_BUFFER_PTS(first), ==, 0);
  g_assert_false(GST_BUFFER_FLAG_IS_SET(first, GST_BUFFER_FLAG_DELTA_UNIT));
  pull(f, 1, 2);
  g_assert_cmpuint(stat_of(f, "dropped-flushed"), ==, 2);
}

static void test_resolution_change(Fixture *f, gconstpointer data) {
  PeerCounts counts;
  (void)data;
  fixture_harness(f, NULL);
  push(f, 0, 3);
  gst_harness_set_src_caps_str(f->harness,
                               "video/x-raw,format=RGBA,width=65,height=33,framerate=0/1");
  GstBuffer *buffer = gst_buffer_new_allocate(NULL, 65 * 33 * 4, NULL);
  GST_BUFFER_PTS(buffer) = 3 * GST_SECOND / 30;
  g_assert_cmpint(gst_harness_push(f->harness, buffer), ==, GST_FLOW_OK);
  pull(f, 0, 4);
  peer_get_counts(f->peer, &counts);
  g_assert_cmpuint(counts.width, ==, 65);
  g_assert_cmpuint(counts.last_fourcc, ==, 0x34324241);
  g_autoptr(GstCaps) caps = gst_pad_get_current_caps(f->harness->sinkpad);
  gint width = 0;
  gst_structure_get_int(gst_caps_get_structure(caps, 0), "width", &width);
  g_assert_cmpint(width, ==, 66);
}

static void test_live_change(Fixture *f, gconstpointer data) {
  PeerCounts counts;
  (void)data;
  fixture_harness(f, "bitrate=1000");
  push(f, 0, 2);
  g_object_set(f->element, "bitrate", 2000, NULL);
  push(f, 2, 2);
  pull(f, 0, 4);
  peer_get_counts(f->peer, &counts);
  g_assert_cmpuint(counts.bitrate_kbps, ==, 2000);
  g_assert_cmpuint(counts.configures, ==, 2);
}

/* Eight dma-bufs in rotation: eight look-ups, and then none. */
static void test_dmabufs(Fixture *f, gconstpointer data) {
  g_autoptr(GstAllocator) allocator = gst_dmabuf_allocator_new();
  GstBuffer *ring[8];
  FakeGpuCounts gpu;
  (void)data;
  fixture_harness(f, NULL);
  gst_harness_set_src_caps_str(
      f->harness, "video/x-raw(memory:DMABuf),format=BGRx,width=64,height=48,framerate=30/1");
  for (guint i = 0; i < G_N_ELEMENTS(ring); i++) {
    ring[i] = gst_buffer_new();
    gst_buffer_append_memory(
        ring[i], gst_dmabuf_allocator_alloc(allocator, fake_gpu_new_dmabuf(65536), 65536));
    gsize offset[4] = {256};
    gint stride[4] = {320};
    gst_buffer_add_video_meta_full(ring[i], GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_FORMAT_BGRx, 64,
                                   48, 1, offset, stride);
  }
  for (guint i = 0; i < 100; i++) {
    GstBuffer *buffer = gst_buffer_copy(ring[i % G_N_ELEMENTS(ring)]);
    GST_BUFFER_PTS(buffer) = i * GST_SECOND / 30;
    g_assert_cmpint(gst_harness_push(f->harness, buffer), ==, GST_FLOW_OK);
  }
  pull(f, 0, 100);
  fake_gpu_get_counts(&gpu);
  g_assert_cmpuint(gpu.imports, ==, 8);
  g_assert_cmpuint(gpu.infos, ==, 8);
  g_assert_cmpuint(stat_of(f, "attaches"), ==, 8);
  g_assert_cmpuint(stat_of(f, "frames-copied"), ==, 0);
  PeerCounts counts;
  peer_get_counts(f->peer, &counts);
  g_assert_cmpuint(counts.last_stride, ==, 320);
  for (guint i = 0; i < G_N_ELEMENTS(ring); i++) gst_buffer_unref(ring[i]);
}

/* More buffers than can be attached: the least recently used make room. */
static void test_many_dmabufs(Fixture *f, gconstpointer data) {
  g_autoptr(GstAllocator) allocator = gst_dmabuf_allocator_new();
  (void)data;
  fixture_harness(f, NULL);
  for (guint i = 0; i < 200; i++) {
    GstBuffer *buffer = gst_buffer_new();
    gst_buffer_append_memory(
        buffer, gst_dmabuf_allocator_alloc(allocator, fake_gpu_new_dmabuf(16384), 16384));
    GST_BUFFER_PTS(buffer) = i * GST_SECOND / 30;
    g_assert_cmpint(gst_harness_push(f->harness, buffer), ==, GST_FLOW_OK);
  }
  pull(f, 0, 200);
  PeerCounts counts;
  peer_get_counts(f->peer, &counts);
  g_assert_cmpuint(counts.attaches, ==, 200);
  g_assert_cmpuint(counts.most_attached, <=, 64);
}

/* A dma-buf of another device is copied; a layout beyond the memory is refused. */
static void test_foreign_dmabuf(Fixture *f, gconstpointer data) {
  g_autoptr(GstAllocator) allocator = gst_dmabuf_allocator_new();
  int fd = g_file_open_tmp("vsockenc-XXXXXX", NULL, NULL);
  (void)data;
  g_assert_cmpint(ftruncate(fd, FRAME_BYTES), ==, 0);
  fixture_harness(f, NULL);
  GstBuffer *buffer = gst_buffer_new();
  gst_buffer_append_memory(buffer, gst_dmabuf_allocator_alloc(allocator, fd, FRAME_BYTES));
  GST_BUFFER_PTS(buffer) = 0;
  g_assert_cmpint(gst_harness_push(f->harness, buffer), ==, GST_FLOW_OK);
  pull(f, 0, 1);
  g_assert_cmpuint(stat_of(f, "frames-copied"), ==, 1);

  buffer = gst_buffer_new();
  gst_buffer_append_memory(
      buffer, gst_dmabuf_allocator_alloc(allocator, fake_gpu_new_dmabuf(4096), FRAME_BYTES));
  g_assert_cmpint(gst_harness_push(f->harness, buffer), ==, GST_FLOW_ERROR);
  g_autoptr(GstMessage) message = wait_message(f, GST_MESSAGE_ERROR, 1);
  g_autofree gchar *text = error_text(message);
  g_assert_nonnull(strstr(text, "does not lie inside"));
}

/* Upstream that takes the pool writes into resources: no copies. */
static void test_pool(Fixture *f, gconstpointer data) {
  g_autofree gchar *text = g_strdup_printf(
      "videotestsrc num-buffers=20 ! video/x-raw,format=BGRx,width=320,height=240 ! vsockenc "
      "name=encoder socket-path=%s ! fakesink name=sink sync=false",
      f->path);
  g_autoptr(GstElement) pipeline = gst_parse_launch(text, NULL);
  (void)data;
  f->element = gst_bin_get_by_name(GST_BIN(pipeline), "encoder");
  g_autoptr(GstBus) bus = gst_element_get_bus(pipeline);
  gst_element_set_state(pipeline, GST_STATE_PLAYING);
  g_autoptr(GstMessage) message =
      gst_bus_timed_pop_filtered(bus, 20 * GST_SECOND, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  g_assert_nonnull(message);
  g_assert_cmpint(GST_MESSAGE_TYPE(message), ==, GST_MESSAGE_EOS);
  g_assert_cmpuint(stat_of(f, "frames-encoded"), ==, 20);
  g_assert_cmpuint(stat_of(f, "frames-copied"), ==, 0);
  gst_element_set_state(pipeline, GST_STATE_NULL);
  g_clear_object(&f->element);
}

static void test_missing_times(Fixture *f, gconstpointer data) {
  GstClockTime last = 0;
  (void)data;
  fixture_harness(f, NULL);
  for (guint i = 0; i < 6; i++) {
    GstBuffer *buffer = new_frame(i);
    GST_BUFFER_PTS(buffer) = i % 2 ? 0 : GST_CLOCK_TIME_NONE;
    g_assert_cmpint(gst_harness_push(f->harness, buffer), ==, GST_FLOW_OK);
  }
  for (guint i = 0; i < 6; i++) {
    g_autoptr(GstBuffer) buffer = gst_harness_pull(f->harness);
    if (i > 0) g_assert_cmpuint(GST_BUFFER_PTS(buffer), >, last);
    last = GST_BUFFER_PTS(buffer);
  }
}

static void test_no_host(Fixture *f, gconstpointer data) {
  gint64 begin;
  (void)data;
  peer_kill(g_steal_pointer(&f->peer));
  fixture_element(f, "connect-timeout=300");
  begin = g_get_monotonic_time();
  g_assert_cmpint(gst_element_set_state(f->element, GST_STATE_READY), ==, GST_STATE_CHANGE_FAILURE);
  g_assert_cmpint(g_get_monotonic_time() - begin, <, 600000);
  g_autoptr(GstMessage) message = wait_message(f, GST_MESSAGE_ERROR, 1);
  g_autofree gchar *text = error_text(message);
  g_assert_nonnull(strstr(text, f->path));
  g_assert_nonnull(strstr(text, "vsockenc relay"));
}

static void test_deaf_host(Fixture *f, gconstpointer data) {
  (void)data;
  peer_set_faults(f->peer, PEER_DEAF);
  fixture_element(f, "connect-timeout=400");
  gint64 begin = g_get_monotonic_time();
  g_assert_cmpint(gst_element_set_state(f->element, GST_STATE_READY), ==, GST_STATE_CHANGE_FAILURE);
  g_assert_cmpint(g_get_monotonic_time() - begin, <, 700000);
}

static void test_refused_configuration(Fixture *f, gconstpointer data) {
  (void)data;
  peer_set_faults(f->peer, PEER_REFUSE);
  fixture_harness(f, NULL);
  gst_harness_push(f->harness, new_frame(0));
  g_autoptr(GstMessage) message = wait_message(f, GST_MESSAGE_ERROR, 1);
  g_autofree gchar *text = error_text(message);
  g_assert_nonnull(strstr(text, "the peer was told to refuse"));
}

static gpointer stop_element(gpointer data) {
  gst_element_set_state(data, GST_STATE_NULL);
  return NULL;
}

static gpointer push_forever(gpointer data) {
  Fixture *f = data;
  for (guint i = 0; gst_harness_push(f->harness, new_frame(i)) == GST_FLOW_OK; i++) continue;
  return NULL;
}

/* A host that takes frames and never answers must not hold up a state change. */
static void test_hung_host(Fixture *f, gconstpointer data) {
  (void)data;
  fixture_harness(f, NULL);
  peer_set_faults(f->peer, PEER_NO_ANSWERS);
  GThread *pusher = g_thread_new("pusher", push_forever, f);
  g_usleep(200000);
  gint64 begin = g_get_monotonic_time();
  GThread *stopper = g_thread_new("stopper", stop_element, f->element);
  g_thread_join(stopper);
  g_assert_cmpint(g_get_monotonic_time() - begin, <, 100000);
  g_thread_join(pusher);
}

static gpointer send_eos(gpointer data) {
  Fixture *f = data;
  gst_harness_push_event(f->harness, gst_event_new_eos());
  return NULL;
}

static void test_hung_drain(Fixture *f, gconstpointer data) {
  (void)data;
  fixture_harness(f, NULL);
  peer_set_faults(f->peer, PEER_NO_ANSWERS);
  push(f, 0, 2);
  GThread *drainer = g_thread_new("drainer", send_eos, f);
  g_usleep(200000);
  gint64 begin = g_get_monotonic_time();
  gst_element_set_state(f->element, GST_STATE_READY);
  g_assert_cmpint(g_get_monotonic_time() - begin, <, 100000);
  g_thread_join(drainer);
}

static gpointer push_slowly(gpointer data) {
  Fixture *f = data;
  for (guint i = 0; i < 60; i++) {
    g_assert_cmpint(gst_harness_push(f->harness, new_frame(i)), ==, GST_FLOW_OK);
    g_usleep(10000);
  }
  return NULL;
}

/* Not live: every frame comes out, although the host was killed in between. */
static void test_host_lost_lossless(Fixture *f, gconstpointer data) {
  (void)data;
  peer_set_delay(f->peer, 15);
  fixture_harness(f, NULL);
  GThread *pusher = g_thread_new("pusher", push_slowly, f);
  pull(f, 0, 10);
  peer_kill(g_steal_pointer(&f->peer));
  g_usleep(300000);
  gint64 back = g_get_monotonic_time();
  fixture_peer(f);
  pull(f, 10, 1);
  g_assert_cmpint(g_get_monotonic_time() - back, <, 2000000);
  pull(f, 11, 49);
  g_thread_join(pusher);
  g_assert_cmpuint(stat_of(f, "sessions"), ==, 2);
  g_assert_cmpuint(stat_of(f, "dropped-disconnected"), ==, 0);
  g_autoptr(GstMessage) lost = wait_message(f, GST_MESSAGE_WARNING, 1);
  g_assert_nonnull(lost);
  g_autoptr(GstMessage) returned = wait_message(f, GST_MESSAGE_INFO, 1);
  g_assert_nonnull(returned);
}

/* Live: upstream never waits, what is lost is counted, and the stream goes on with a key frame. */
static void test_host_lost_live(Fixture *f, gconstpointer data) {
  guint64 dropped;
  (void)data;
  fixture_harness(f, "drop=newest");
  push(f, 0, 1);
  pull(f, 0, 1);
  peer_kill(g_steal_pointer(&f->peer));
  g_usleep(100000);
  gint64 begin = g_get_monotonic_time();
  push(f, 1, 20);
  g_assert_cmpint(g_get_monotonic_time() - begin, <, 200000);
  dropped = stat_of(f, "dropped-disconnected");
  g_assert_cmpuint(dropped, >=, 19);
  fixture_peer(f);
  for (guint i = 21; stat_of(f, "sessions") < 2 && i < 400; i++) {
    push(f, i, 1);
    g_usleep(5000);
  }
  push(f, 400, 1);
  g_autoptr(GstBuffer) first = gst_harness_pull(f->harness);
  g_assert_false(GST_BUFFER_FLAG_IS_SET(first, GST_BUFFER_FLAG_DELTA_UNIT));
}

static void test_on_disconnect_error(Fixture *f, gconstpointer data) {
  (void)data;
  fixture_harness(f, "on-disconnect=error");
  push(f, 0, 1);
  pull(f, 0, 1);
  peer_kill(g_steal_pointer(&f->peer));
  g_autoptr(GstMessage) message = wait_message(f, GST_MESSAGE_ERROR, 2);
  g_assert_nonnull(message);
}

/* A host that refuses for good is reported, and nobody waits for it for ever. */
static void test_refusing_host(Fixture *f, gconstpointer data) {
  guint fault = GPOINTER_TO_UINT(data);
  fixture_harness(f, NULL);
  push(f, 0, 1);
  pull(f, 0, 1);
  peer_set_faults(f->peer, fault);
  peer_hang_up(f->peer);
  GThread *pusher = g_thread_new("pusher", push_forever, f);
  g_autoptr(GstMessage) message = wait_message(f, GST_MESSAGE_ERROR, 10);
  g_assert_nonnull(message);
  g_thread_join(pusher);
}

/* Many losses in a row, each at another moment: no frame is lost, none comes twice. */
static void test_many_losses(Fixture *f, gconstpointer data) {
  (void)data;
  peer_set_delay(f->peer, 3);
  fixture_harness(f, "max-in-flight=4");
  GThread *pusher = g_thread_new("pusher", push_slowly, f);
  for (guint i = 0; i < 60; i++) {
    if (i % 4 == 3) {
      g_usleep(i * 100);
      peer_hang_up(f->peer);
    }
    pull(f, i, 1);
  }
  g_thread_join(pusher);
}

/* A change that the host refuses leaves things as they were. */
static void test_refused_change(Fixture *f, gconstpointer data) {
  PeerCounts counts;
  (void)data;
  fixture_harness(f, "bitrate=1000");
  push(f, 0, 2);
  pull(f, 0, 2);
  peer_set_faults(f->peer, PEER_REFUSE_ODD);
  g_object_set(f->element, "bitrate", 3001, NULL);
  push(f, 2, 3);
  pull(f, 2, 3);
  peer_get_counts(f->peer, &counts);
  g_assert_cmpuint(counts.bitrate_kbps, ==, 1000);
  g_autoptr(GstMessage) message = wait_message(f, GST_MESSAGE_WARNING, 1);
  g_assert_nonnull(message);
}

/* The newest frame wins; nothing waits. */
static void test_newest(Fixture *f, gconstpointer data) {
  (void)data;
  peer_set_delay(f->peer, 200);
  fixture_harness(f, "drop=newest max-in-flight=1");
  push(f, 0, 10);
  pull(f, 0, 1);
  pull(f, 9, 1);
  g_assert_cmpuint(stat_of(f, "dropped-newer"), ==, 8);
}

/* Whatever the host sends, the element survives and says what was wrong, or goes on. */
static void test_hostile_host(Fixture *f, gconstpointer data) {
  guint fault = GPOINTER_TO_UINT(data);
  fixture_harness(f, "drop=newest");
  push(f, 0, 1);
  pull(f, 0, 1);
  peer_set_faults(f->peer, fault);
  for (guint i = 1; i < 30; i++) {
    push(f, i, 1);
    g_usleep(5000);
  }
  peer_set_faults(f->peer, 0);
  for (guint i = 30; i < 400 && gst_harness_buffers_received(f->harness) < 40; i++) {
    push(f, i, 1);
    g_usleep(5000);
  }
  g_assert_cmpuint(gst_harness_buffers_received(f->harness), >=, 40);
}

/* These are no faults of the host: the stream comes through whole. */
static void test_awkward_host(Fixture *f, gconstpointer data) {
  guint fault = GPOINTER_TO_UINT(data);
  peer_set_faults(f->peer, fault);
  fixture_harness(f, NULL);
  push(f, 0, 20);
  pull(f, 0, 20);
  g_assert_cmpuint(stat_of(f, "sessions"), ==, 1);
}

static void test_large_units(Fixture *f, gconstpointer data) {
  (void)data;
  peer_set_unit_bytes(f->peer, 200000);
  fixture_harness(f, NULL);
  push(f, 0, 20);
  for (guint i = 0; i < 20; i++) {
    g_autoptr(GstBuffer) buffer = gst_harness_pull(f->harness);
    g_assert_cmpuint(gst_buffer_get_size(buffer), >, 200000);
  }
}

static void test_host_drops(Fixture *f, gconstpointer data) {
  (void)data;
  peer_set_faults(f->peer, PEER_DROP_ODD);
  fixture_harness(f, NULL);
  push(f, 0, 10);
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_eos()));
  g_assert_cmpuint(gst_harness_buffers_received(f->harness), ==, 5);
  g_assert_cmpuint(stat_of(f, "dropped-encoder"), ==, 5);
}

static guint count_entries(const gchar *path) {
  g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
  guint n = 0;
  while (directory && g_dir_read_name(directory)) n++;
  return n;
}

static void test_no_growth(Fixture *f, gconstpointer data) {
  guint descriptors = 0, threads = 0;
  (void)data;
  fixture_element(f, NULL);
  f->harness = gst_harness_new_with_element(f->element, "sink", "src");
  for (guint i = 0; i < 100; i++) {
    run_stream(f, GST_STATE_NULL);
    if (i == 10) {
      descriptors = count_entries("/proc/self/fd");
      threads = count_entries("/proc/self/task");
    }
  }
  g_assert_cmpuint(count_entries("/proc/self/fd"), <=, descriptors + 1);
  g_assert_cmpuint(count_entries("/proc/self/task"), <=, threads + 1);
}

int main(int argc, char **argv) {
  gst_init(&argc, &argv);
  g_test_init(&argc, &argv, NULL);
  GstVsockEncClass *klass = g_type_class_ref(GST_TYPE_VSOCK_ENC);
  klass->gpu_ops = &fake_gpu;
  gst_element_register(NULL, "vsockenc", GST_RANK_NONE, GST_TYPE_VSOCK_ENC);

#define TEST(name, test) g_test_add("/element/" name, Fixture, NULL, setup, test, teardown)
#define FAULT(name, test, fault) \
  g_test_add("/element/" name, Fixture, GUINT_TO_POINTER(fault), setup, test, teardown)
  TEST("encode", test_encode);
  TEST("single-frame", test_single_frame);
  TEST("eos-drains", test_eos_drains);
  TEST("eos-before-data", test_eos_before_data);
  TEST("reuse", test_reuse);
  TEST("force-key-unit", test_force_key_unit);
  TEST("flush", test_flush);
  TEST("resolution-change", test_resolution_change);
  TEST("live-change", test_live_change);
  TEST("dmabufs", test_dmabufs);
  TEST("many-dmabufs", test_many_dmabufs);
  TEST("foreign-dmabuf", test_foreign_dmabuf);
  TEST("pool", test_pool);
  TEST("missing-times", test_missing_times);
  TEST("no-host", test_no_host);
  TEST("deaf-host", test_deaf_host);
  TEST("refused-configuration", test_refused_configuration);
  TEST("hung-host", test_hung_host);
  TEST("hung-drain", test_hung_drain);
  TEST("host-lost-lossless", test_host_lost_lossless);
  TEST("host-lost-live", test_host_lost_live);
  TEST("on-disconnect-error", test_on_disconnect_error);
  TEST("many-losses", test_many_losses);
  TEST("refused-change", test_refused_change);
  TEST("newest", test_newest);
  TEST("large-units", test_large_units);
  TEST("host-drops", test_host_drops);
  FAULT("awkward/one-byte-writes", test_awkward_host, PEER_SHORT_READS);
  FAULT("awkward/noise", test_awkward_host, PEER_NOISE);
  FAULT("hostile/foreign-frame", test_hostile_host, PEER_FOREIGN_FRAME);
  FAULT("hostile/huge-unit", test_hostile_host, PEER_HUGE_UNIT);
  FAULT("hostile/wrong-offset", test_hostile_host, PEER_WRONG_OFFSET);
  FAULT("hostile/refused-buffers", test_hostile_host, PEER_REFUSE_BUFFERS);
  FAULT("refusing/configuration", test_refusing_host, PEER_REFUSE);
  FAULT("refusing/buffers", test_refusing_host, PEER_REFUSE_BUFFERS);
  FAULT("refusing/units", test_refusing_host, PEER_HUGE_UNIT);
  TEST("no-growth", test_no_growth);
  int status = g_test_run();
  g_type_class_unref(klass);
  gst_deinit(); /* has GST_TRACERS=leaks report */
  return status;
}
