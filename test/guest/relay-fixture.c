#include "relay-fixture.h"

#include <stdio.h>

#include "fake-gpu.h"
#include "pattern.h"

static const VencGpuOps *gpu_ops;
static Pattern *pattern;

gboolean relay_has_resources(void) {
  return gpu_ops != &no_gpu;
}

void relay_setup(Fixture *f, gconstpointer data) {
  f->path = g_strdup(g_getenv("VSOCKENC_RELAY_SOCKET"));
}

void relay_make_harness(Fixture *f, const gchar *settings, const gchar *caps, const gchar *wanted) {
  fixture_open(f, settings, wanted);
  gst_harness_set_src_caps_str(f->harness, caps);
}

void relay_teardown(Fixture *f, gconstpointer data) {
  if (f->bus) fixture_assert_no_error(f);
  fixture_teardown(f, data);
  fake_gpu_reset();
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

void relay_push_pool_frames(Fixture *f, guint first, guint n) {
  for (guint i = first; i < first + n; i++) {
    GstBuffer *buffer = gst_harness_create_buffer(f->harness, PICTURE_BYTES);
    fixture_push_buffer(f, relay_draw(buffer, i));
  }
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
  fixture_assert_source(f, relay_has_resources() ? with_resources : "inline");
}

GstStructure *relay_output_caps(Fixture *f, GstCaps **caps) {
  *caps = gst_pad_get_current_caps(f->harness->sinkpad);
  g_assert_nonnull(*caps);
  return gst_caps_get_structure(*caps, 0);
}

void relay_begin(void) {
  const gchar *memory = g_getenv("VSOCKENC_RELAY_MEMORY");
  gpu_ops = memory ? &fake_gpu : g_getenv("VSOCKENC_RELAY_SOCKET") ? &no_gpu : &venc_gpu_kernel;
  if (memory) fake_gpu_connect(memory);
  pattern = pattern_new(WIDTH, HEIGHT, "BGRx");
}

void relay_end(void) {
  pattern_free(pattern);
}

const VencGpuOps *relay_gpu_ops(void) {
  return gpu_ops;
}
