#include "fixture.h"

#include <glib/gstdio.h>
#include <gst/allocators/allocators.h>
#include <gst/video/video.h>
#include <malloc.h>

#include "fake-gpu.h"
#include "gstvsockenc.h"

void fixture_peer(Fixture *f, guint faults) {
  g_unlink(f->path);
  f->peer = peer_new(f->path, faults);
}

void fixture_element(Fixture *f, const gchar *settings) {
  g_autofree gchar *link = f->path ? g_strdup_printf("socket-path=%s", f->path) : g_strdup("");
  /* A harness is live, so that drop=auto would drop frames. */
  g_autofree gchar *text =
      g_strdup_printf("vsockenc name=encoder connect-timeout=60000 drop=never %s %s", link,
                      settings ? settings : "");
  g_autoptr(GError) error = NULL;
  f->element = gst_parse_launch(text, &error);
  g_assert_no_error(error);
  f->bus = gst_bus_new();
  gst_element_set_bus(f->element, f->bus);
}

void fixture_open(Fixture *f, const gchar *settings, const gchar *wanted) {
  fixture_element(f, settings);
  f->harness = gst_harness_new_with_element(f->element, "sink", "src");
  if (wanted) gst_harness_set_sink_caps_str(f->harness, wanted);
}

void fixture_harness(Fixture *f, const gchar *settings) {
  fixture_open(f, settings, NULL);
  gst_harness_set_src_caps_str(f->harness, CAPS);
}

void fixture_setup(Fixture *f, gconstpointer data) {
  GstVsockEncClass *klass = g_type_class_peek(GST_TYPE_VSOCK_ENC);
  klass->gpu_ops = &fake_gpu;
  fake_gpu_reset();
  f->directory = g_dir_make_tmp("vsockenc-XXXXXX", NULL);
  f->path = g_build_filename(f->directory, "relay.sock", NULL);
  fixture_peer(f, 0);
}

void fixture_teardown(Fixture *f, gconstpointer data) {
  if (f->harness) gst_harness_teardown(f->harness);
  gst_caps_replace(&f->output, NULL);
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
    g_assert_cmpuint(peer_counts(f->peer).violations, ==, 0);
    peer_kill(f->peer);
  }
  g_assert_cmpuint(fake_gpu_counts().open_handles, ==, 0);
  g_assert_cmpuint(fake_gpu_counts().mistakes, ==, 0);
  if (f->directory) {
    g_unlink(f->path);
    g_rmdir(f->directory);
  }
  g_free(f->path);
  g_free(f->directory);
}

GstBuffer *fixture_stamp(GstBuffer *buffer, guint number) {
  GST_BUFFER_PTS(buffer) = number * GST_SECOND / 30;
  GST_BUFFER_DURATION(buffer) = GST_SECOND / 30;
  return buffer;
}

GstBuffer *fixture_frame(guint number) {
  GstBuffer *buffer = gst_buffer_new_allocate(NULL, FRAME_BYTES, NULL);
  gst_buffer_memset(buffer, 0, (guint8)number, FRAME_BYTES);
  return fixture_stamp(buffer, number);
}

GstBuffer *fixture_noise(gsize size, guint number) {
  GstBuffer *buffer = gst_buffer_new_allocate(NULL, size, NULL);
  GstMapInfo map;
  gst_buffer_map(buffer, &map, GST_MAP_WRITE);
  guint32 state = number + 1;
  for (gsize i = 0; i < size; i++)
    map.data[i] = (guint8)((state = state * 1664525u + 1013904223u) >> 24);
  gst_buffer_unmap(buffer, &map);
  return fixture_stamp(buffer, number);
}

GstBuffer *fixture_dmabuf(guint number, int fd, gsize size) {
  g_autoptr(GstAllocator) allocator = gst_dmabuf_allocator_new();
  GstBuffer *buffer = gst_buffer_new();
  g_assert_cmpint(fd, >=, 0);
  gst_buffer_append_memory(buffer, gst_dmabuf_allocator_alloc(allocator, fd, size));
  return fixture_stamp(buffer, number);
}

void fixture_push_buffer(Fixture *f, GstBuffer *buffer) {
  g_assert_cmpint(gst_harness_push(f->harness, buffer), ==, GST_FLOW_OK);
}

void fixture_push(Fixture *f, guint first, guint n) {
  for (guint i = first; i < first + n; i++) fixture_push_buffer(f, fixture_frame(i));
}

void fixture_pull(Fixture *f, guint first, guint n) {
  for (guint i = first; i < first + n; i++) {
    g_autoptr(GstBuffer) buffer = gst_harness_pull(f->harness);
    g_assert_nonnull(buffer);
    g_assert_cmpuint(GST_BUFFER_PTS(buffer), ==, i * GST_SECOND / 30);
    g_assert_cmpuint(GST_BUFFER_DTS(buffer), ==, GST_BUFFER_PTS(buffer));
  }
}

gboolean fixture_is_key(GstBuffer *buffer) {
  return !GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT);
}

GstBuffer *fixture_pull_key(Fixture *f, guint number) {
  GstBuffer *buffer = gst_harness_pull(f->harness);
  g_assert_nonnull(buffer);
  g_assert_cmpuint(GST_BUFFER_PTS(buffer), ==, number * GST_SECOND / 30);
  g_assert_true(fixture_is_key(buffer));
  return buffer;
}

const GstStructure *fixture_output(Fixture *f) {
  g_autoptr(GstCaps) caps = gst_pad_get_current_caps(f->harness->sinkpad);
  g_assert_nonnull(caps);
  gst_caps_replace(&f->output, caps);
  return gst_caps_get_structure(caps, 0);
}

gint fixture_output_int(Fixture *f, const gchar *field) {
  gint value = 0;
  g_assert_true(gst_structure_get_int(fixture_output(f), field, &value));
  return value;
}

void fixture_encode(Fixture *f, guint first, guint n) {
  fixture_push(f, first, n);
  fixture_pull(f, first, n);
}

void fixture_push_eos(Fixture *f) {
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_eos()));
}

void fixture_flush_stop(Fixture *f) {
  GstSegment segment;
  gst_segment_init(&segment, GST_FORMAT_TIME);
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_flush_stop(TRUE)));
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_segment(&segment)));
}

void fixture_flush(Fixture *f) {
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_flush_start()));
  fixture_flush_stop(f);
}

void fixture_force_key_unit(Fixture *f) {
  gst_harness_push_upstream_event(
      f->harness, gst_video_event_new_upstream_force_key_unit(GST_CLOCK_TIME_NONE, TRUE, 1));
}

void fixture_run_stream(Fixture *f, GstState state) {
  gst_element_set_state(f->element, GST_STATE_PLAYING);
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_stream_start("test")));
  gst_harness_set_src_caps_str(f->harness, CAPS);
  fixture_push(f, 0, 3);
  fixture_push_eos(f);
  fixture_pull(f, 0, 3);
  fixture_assert_no_error(f);
  gst_element_set_state(f->element, state);
}

gpointer fixture_push_forever(gpointer fixture) {
  Fixture *f = fixture;
  for (guint i = 0; gst_harness_push(f->harness, fixture_frame(i)) == GST_FLOW_OK; i++) continue;
  return NULL;
}

guint64 fixture_stat(Fixture *f, const gchar *field) {
  g_autoptr(GstStructure) stats = NULL;
  guint64 value = 0;
  guint small = 0;
  g_object_get(f->element, "stats", &stats, NULL);
  if (gst_structure_get_uint(stats, field, &small)) return small;
  g_assert_true(gst_structure_get_uint64(stats, field, &value));
  return value;
}

void fixture_wait_stat(Fixture *f, const gchar *field, guint64 least) {
  while (fixture_stat(f, field) < least) g_usleep(1000);
}

/* Of an error, a warning or an info. */
static gchar *text_of(GstMessage *message) {
  g_autoptr(GError) error = NULL;
  gst_structure_get(gst_message_get_structure(message), "gerror", G_TYPE_ERROR, &error, NULL);
  return g_strdup(error->message);
}

void fixture_expect(Fixture *f, GstMessageType type, const gchar *first, const gchar *second) {
  for (gboolean found = FALSE; !found;) {
    g_autoptr(GstMessage) message =
        gst_bus_timed_pop_filtered(f->bus, HANG_SECONDS * GST_SECOND, type);
    g_assert_nonnull(message);
    g_autofree gchar *text = text_of(message);
    g_test_message("%s", text);
    found = (!first || strstr(text, first)) && (!second || strstr(text, second));
    g_assert_true(found || type != GST_MESSAGE_ERROR);
  }
}

void fixture_assert_no_error(Fixture *f) {
  g_autoptr(GstMessage) message = gst_bus_pop_filtered(f->bus, GST_MESSAGE_ERROR);
  g_autofree gchar *text = message ? text_of(message) : NULL;
  g_assert_cmpstr(text, ==, NULL);
}

guint fixture_count_warnings(Fixture *f, const gchar *text) {
  GstMessage *message;
  guint n = 0;
  while ((message = gst_bus_pop_filtered(f->bus, GST_MESSAGE_WARNING))) {
    g_autofree gchar *warning = text_of(message);
    if (strstr(warning, text)) n++;
    gst_message_unref(message);
  }
  return n;
}

const gchar *fixture_stat_text(Fixture *f, const gchar *field) {
  g_autoptr(GstStructure) stats = NULL;
  g_object_get(f->element, "stats", &stats, NULL);
  return g_intern_string(gst_structure_get_string(stats, field));
}

void fixture_assert_source(Fixture *f, const gchar *nick) {
  g_assert_cmpstr(fixture_stat_text(f, "tier"), ==, nick);
}

void fixture_push_until_source(Fixture *f, const gchar *nick, guint first) {
  for (; g_strcmp0(fixture_stat_text(f, "tier"), nick); g_usleep(20000))
    fixture_encode(f, first++, 1);
}

GstElement *fixture_play(Fixture *f, const gchar *frames, const gchar *sink) {
  g_autofree gchar *text = g_strdup_printf(
      "videotestsrc num-buffers=%s ! vsockenc name=encoder socket-path=%s ! fakesink %s", frames,
      f->path, sink);
  GstElement *pipeline = gst_parse_launch(text, NULL);
  f->element = gst_bin_get_by_name(GST_BIN(pipeline), "encoder");
  gst_element_set_state(pipeline, GST_STATE_PLAYING);
  return pipeline;
}

void fixture_wait_eos(GstElement *pipeline) {
  g_autoptr(GstBus) bus = gst_element_get_bus(pipeline);
  g_autoptr(GstMessage) message = gst_bus_timed_pop_filtered(bus, HANG_SECONDS * GST_SECOND,
                                                             GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  g_assert_nonnull(message);
  g_assert_cmpint(GST_MESSAGE_TYPE(message), ==, GST_MESSAGE_EOS);
}

static guint count_entries(const gchar *path) {
  g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
  guint n = 0;
  while (directory && g_dir_read_name(directory)) n++;
  return n;
}

FixtureUsage fixture_usage(guint most_threads) {
  FixtureUsage now = {count_entries("/proc/self/fd"), count_entries("/proc/self/task"), 0};
  for (guint i = 0; most_threads > 0 && now.threads > most_threads && i < 2000; i++) {
    g_usleep(10000);
    now.threads = count_entries("/proc/self/task");
  }
#if !defined(__SANITIZE_ADDRESS__)
  now.heap = mallinfo2().uordblks;
#endif
  return now;
}

int fixture_main(int argc, char **argv, void (*add)(void)) {
  gst_init(&argc, &argv);
  g_test_init(&argc, &argv, NULL);
  GstVsockEncClass *klass = g_type_class_ref(GST_TYPE_VSOCK_ENC);
  gst_element_register(NULL, "vsockenc", GST_RANK_NONE, GST_TYPE_VSOCK_ENC);
  add();
  int status = g_test_run();
  g_type_class_unref(klass);
  gst_deinit(); /* has GST_TRACERS=leaks report */
  return status;
}
