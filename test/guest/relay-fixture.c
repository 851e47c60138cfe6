#include "relay-fixture.h"

#include <stdio.h>

#include "fake-gpu.h"
#include "pattern.h"
#include "relay-gpu.h"

static const VencGpuOps *gpu_ops;
static Pattern *pattern;

gboolean relay_has_resources(void) {
  return gpu_ops != &no_gpu;
}

void relay_setup(Fixture *f, gconstpointer data) {
  (void)data;
  f->path = g_strdup(g_getenv("VSOCKENC_RELAY_SOCKET"));
}

void relay_make_element(Fixture *f, const gchar *settings) {
  g_autofree gchar *place = f->path ? g_strdup_printf("socket-path=%s", f->path) : g_strdup("");
  g_autofree gchar *text =
      g_strdup_printf("vsockenc name=encoder drop=never %s %s", place, settings ? settings : "");
  g_autoptr(GError) error = NULL;
  f->element = gst_parse_launch(text, &error);
  g_assert_no_error(error);
  f->bus = gst_bus_new();
  gst_element_set_bus(f->element, f->bus);
}

void relay_make_harness(Fixture *f, const gchar *settings, const gchar *caps, const gchar *wanted) {
  relay_make_element(f, settings);
  f->harness = gst_harness_new_with_element(f->element, "sink", "src");
  if (wanted) gst_harness_set_sink_caps_str(f->harness, wanted);
  gst_harness_set_src_caps_str(f->harness, caps);
}

void relay_assert_no_error(Fixture *f) {
  g_autoptr(GstMessage) message = gst_bus_pop_filtered(f->bus, GST_MESSAGE_ERROR);
  g_autofree gchar *text = message ? fixture_error_text(message) : NULL;
  g_assert_cmpstr(text, ==, NULL);
}

void relay_teardown(Fixture *f, gconstpointer data) {
  (void)data;
  relay_assert_no_error(f);
  if (f->harness) gst_harness_teardown(f->harness);
  gst_element_set_state(f->element, GST_STATE_NULL);
  gst_element_set_bus(f->element, NULL);
  gst_object_unref(f->element);
  gst_bus_set_flushing(f->bus, TRUE);
  gst_object_unref(f->bus);
  if (gpu_ops == &relay_gpu) relay_gpu_reset();
  g_free(f->path);
}

GstBuffer *relay_draw(GstBuffer *buffer, guint number) {
  GstMapInfo map;
  g_assert_true(gst_buffer_map(buffer, &map, GST_MAP_WRITE));
  g_assert_cmpuint(map.size, >=, PICTURE_BYTES);
  pattern_draw(pattern, map.data, WIDTH * 4, number, -1);
  gst_buffer_unmap(buffer, &map);
  GST_BUFFER_PTS(buffer) = number * GST_SECOND / 30;
  GST_BUFFER_DURATION(buffer) = GST_SECOND / 30;
  return buffer;
}

/* Frame `number` in a buffer of the pool that the element has proposed. */
static GstBuffer *pool_frame(Fixture *f, guint number) {
  return relay_draw(gst_harness_create_buffer(f->harness, PICTURE_BYTES), number);
}

void relay_push(Fixture *f, GstBuffer *buffer) {
  g_assert_cmpint(gst_harness_push(f->harness, buffer), ==, GST_FLOW_OK);
}

void relay_push_pool_frames(Fixture *f, guint first, guint n) {
  for (guint i = first; i < first + n; i++) relay_push(f, pool_frame(f, i));
}

void relay_push_end(Fixture *f) {
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_eos()));
}

void relay_keep(Fixture *f, guint n, const gchar *name) {
  const gchar *folder = g_getenv("VSOCKENC_TEST_OUTPUT");
  g_autofree gchar *path = folder ? g_build_filename(folder, name, NULL) : NULL;
  FILE *file = path ? fopen(path, "w") : NULL;
  g_assert_cmpuint(gst_harness_buffers_in_queue(f->harness), ==, n);
  for (guint i = 0; i < n; i++) {
    g_autoptr(GstBuffer) buffer = gst_harness_pull(f->harness);
    GstMapInfo map;
    g_assert_cmpuint(GST_BUFFER_PTS(buffer), ==, i * GST_SECOND / 30);
    if (i == 0) g_assert_false(GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT));
    g_assert_true(gst_buffer_map(buffer, &map, GST_MAP_READ));
    if (file) g_assert_cmpuint(fwrite(map.data, 1, map.size, file), ==, map.size);
    gst_buffer_unmap(buffer, &map);
  }
  if (file) fclose(file);
}

void relay_assert_source(Fixture *f, const gchar *with_resources) {
  g_autofree gchar *source = fixture_source(f);
  g_assert_cmpstr(source, ==, relay_has_resources() ? with_resources : "inline");
}

GstStructure *relay_output_caps(Fixture *f, GstCaps **caps) {
  *caps = gst_pad_get_current_caps(f->harness->sinkpad);
  g_assert_nonnull(*caps);
  return gst_caps_get_structure(*caps, 0);
}

void relay_run_stream(Fixture *f, GstState state) {
  gst_element_set_state(f->element, GST_STATE_PLAYING);
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_stream_start("test")));
  gst_harness_set_src_caps_str(f->harness, SMALL_CAPS);
  fixture_push(f, 0, 3);
  relay_push_end(f);
  fixture_pull(f, 0, 3);
  relay_assert_no_error(f);
  gst_element_set_state(f->element, state);
}

void relay_begin(void) {
  const gchar *memory = g_getenv("VSOCKENC_RELAY_MEMORY");
  gpu_ops = memory ? &relay_gpu : g_getenv("VSOCKENC_RELAY_SOCKET") ? &no_gpu : &venc_gpu_kernel;
  if (memory) relay_gpu_connect(memory);
  pattern = pattern_new(WIDTH, HEIGHT, "BGRx");
}

void relay_end(void) {
  pattern_free(pattern);
}

const VencGpuOps *relay_gpu_ops(void) {
  return gpu_ops;
}

void relay_add(const gchar *name, void (*test)(Fixture *, gconstpointer), const gchar *data) {
  g_test_add(name, Fixture, data, relay_setup, test, relay_teardown);
}
