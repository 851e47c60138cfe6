#include "fixture.h"

#include <glib/gstdio.h>

#include "fake-gpu.h"
#include "gstvsockenc.h"

void fixture_peer(Fixture *f, guint faults) {
  g_unlink(f->path);
  f->peer = peer_new(f->path, faults);
}

/* `settings` are properties in gst-launch's words. A harness says that it is live, so that
 * drop=auto would drop. */
void fixture_element(Fixture *f, const gchar *settings) {
  g_autofree gchar *text =
      g_strdup_printf("vsockenc name=encoder connect-timeout=2000 drop=never socket-path=%s %s",
                      f->path, settings ? settings : "");
  g_autoptr(GError) error = NULL;
  f->element = gst_parse_launch(text, &error);
  g_assert_no_error(error);
  f->bus = gst_bus_new();
  gst_element_set_bus(f->element, f->bus);
}

void fixture_harness(Fixture *f, const gchar *settings) {
  fixture_element(f, settings);
  f->harness = gst_harness_new_with_element(f->element, "sink", "src");
  gst_harness_set_src_caps_str(f->harness, CAPS);
}

void fixture_setup(Fixture *f, gconstpointer data) {
  (void)data;
  fake_gpu_reset();
  f->directory = g_dir_make_tmp("vsockenc-XXXXXX", NULL);
  f->path = g_build_filename(f->directory, "relay.sock", NULL);
  fixture_peer(f, 0);
}

void fixture_teardown(Fixture *f, gconstpointer data) {
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

GstBuffer *fixture_frame(guint number) {
  GstBuffer *buffer = gst_buffer_new_allocate(NULL, FRAME_BYTES, NULL);
  gst_buffer_memset(buffer, 0, (guint8)number, FRAME_BYTES);
  GST_BUFFER_PTS(buffer) = number * GST_SECOND / 30;
  GST_BUFFER_DURATION(buffer) = GST_SECOND / 30;
  return buffer;
}

void fixture_push(Fixture *f, guint first, guint n) {
  for (guint i = first; i < first + n; i++)
    g_assert_cmpint(gst_harness_push(f->harness, fixture_frame(i)), ==, GST_FLOW_OK);
}

void fixture_pull(Fixture *f, guint first, guint n) {
  for (guint i = first; i < first + n; i++) {
    g_autoptr(GstBuffer) buffer = gst_harness_pull(f->harness);
    g_assert_nonnull(buffer);
    g_assert_cmpuint(GST_BUFFER_PTS(buffer), ==, i * GST_SECOND / 30);
    g_assert_cmpuint(GST_BUFFER_DTS(buffer), ==, GST_BUFFER_PTS(buffer));
  }
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

GstMessage *fixture_wait_message(Fixture *f, GstMessageType type, guint seconds) {
  return gst_bus_timed_pop_filtered(f->bus, seconds * GST_SECOND, type);
}

gchar *fixture_error_text(GstMessage *message) {
  g_autoptr(GError) error = NULL;
  gst_message_parse_error(message, &error, NULL);
  return g_strdup(error->message);
}

guint fixture_count_warnings(Fixture *f, const gchar *text) {
  GstMessage *message;
  guint n = 0;
  while ((message = gst_bus_pop_filtered(f->bus, GST_MESSAGE_WARNING))) {
    g_autoptr(GError) error = NULL;
    gst_message_parse_warning(message, &error, NULL);
    if (strstr(error->message, text)) n++;
    gst_message_unref(message);
  }
  return n;
}

gchar *fixture_source(Fixture *f) {
  g_autoptr(GstStructure) stats = NULL;
  g_object_get(f->element, "stats", &stats, NULL);
  return g_strdup(gst_structure_get_string(stats, "tier"));
}

guint fixture_push_until_source(Fixture *f, const gchar *nick, guint first) {
  gint64 deadline = g_get_monotonic_time() + 10 * G_TIME_SPAN_SECOND;
  for (;; first++) {
    fixture_push(f, first, 1);
    fixture_pull(f, first, 1);
    g_autofree gchar *source = fixture_source(f);
    if (g_str_equal(source, nick)) return first + 1;
    g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    g_usleep(20000);
  }
}

static guint count_entries(const gchar *path) {
  g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
  guint n = 0;
  while (directory && g_dir_read_name(directory)) n++;
  return n;
}

guint fixture_descriptors(void) {
  return count_entries("/proc/self/fd");
}

guint fixture_threads(guint most) {
  guint now = count_entries("/proc/self/task");
  for (guint i = 0; most > 0 && now > most && i < 2000; i++) {
    g_usleep(10000);
    now = count_entries("/proc/self/task");
  }
  return now;
}

int fixture_main(int argc, char **argv, void (*add)(void)) {
  gst_init(&argc, &argv);
  g_test_init(&argc, &argv, NULL);
  GstVsockEncClass *klass = g_type_class_ref(GST_TYPE_VSOCK_ENC);
  klass->gpu_ops = &fake_gpu;
  gst_element_register(NULL, "vsockenc", GST_RANK_NONE, GST_TYPE_VSOCK_ENC);
  add();
  int status = g_test_run();
  g_type_class_unref(klass);
  gst_deinit(); /* has GST_TRACERS=leaks report */
  return status;
}
