/* Settings, key units and flushes while frames are encoded, and all of them at once. */
#include <gst/video/video.h>
#include <string.h>

#include "relay-fixture.h"

/* Noise, which uses all bits that the encoder may use. */
static GstBuffer *noise_frame(guint number) {
  GstBuffer *buffer = gst_buffer_new_allocate(NULL, PICTURE_BYTES, NULL);
  GRand *random = g_rand_new_with_seed(number + 1);
  GstMapInfo map;
  gst_buffer_map(buffer, &map, GST_MAP_WRITE);
  for (gsize i = 0; i + 4 <= map.size; i += 4) {
    guint32 pixel = g_rand_int(random);
    memcpy(map.data + i, &pixel, sizeof pixel);
  }
  gst_buffer_unmap(buffer, &map);
  g_rand_free(random);
  GST_BUFFER_PTS(buffer) = number * GST_SECOND / 30;
  GST_BUFFER_DURATION(buffer) = GST_SECOND / 30;
  return buffer;
}

typedef struct {
  gsize bytes;
  guint keys;
} Measured;

/* Encodes `n` frames of noise. */
static Measured measure(Fixture *f, guint first, guint n) {
  Measured result = {0};
  for (guint i = first; i < first + n; i++) {
    fixture_push_buffer(f, noise_frame(i));
    g_autoptr(GstBuffer) buffer = gst_harness_pull(f->harness);
    g_assert_nonnull(buffer);
    result.bytes += gst_buffer_get_size(buffer);
    if (!GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT)) result.keys++;
  }
  return result;
}

/* The encoder needs some frames to adapt; the later ones show the new rate. */
static void test_live_bitrate(Fixture *f, gconstpointer data) {
  relay_make_harness(f, "bitrate=500 keyframe-interval=1000", PICTURE_CAPS, NULL);
  measure(f, 0, 20);
  Measured before = measure(f, 20, 20);
  g_object_set(f->element, "bitrate", 8000, NULL);
  measure(f, 40, 20);
  Measured after = measure(f, 60, 20);
  g_test_message("%zu bytes, then %zu", before.bytes, after.bytes);
  g_assert_cmpuint(after.bytes, >, 2 * before.bytes);
  fixture_assert_no_error(f);
}

static void test_live_interval(Fixture *f, gconstpointer data) {
  relay_make_harness(f, "keyframe-interval=1000", PICTURE_CAPS, NULL);
  g_assert_cmpuint(measure(f, 0, 20).keys, ==, 1);
  g_object_set(f->element, "keyframe-interval", 5, NULL);
  g_assert_cmpuint(measure(f, 20, 20).keys, >=, 3);
  fixture_assert_no_error(f);
}

static void test_live_rate_control(Fixture *f, gconstpointer data) {
  const gchar *modes[] = {"cbr", "vbr", "cbr"};
  relay_make_harness(f, "bitrate=1000 rate-control=vbr", PICTURE_CAPS, NULL);
  for (guint i = 0; i < G_N_ELEMENTS(modes); i++) {
    gst_util_set_object_arg(G_OBJECT(f->element), "rate-control", modes[i]);
    measure(f, 5 * i, 5);
  }
  fixture_assert_no_error(f);
  g_assert_cmpuint(fixture_stat(f, "sessions"), ==, 1);
}

static void test_force_key_unit(Fixture *f, gconstpointer data) {
  relay_make_harness(f, "keyframe-interval=1000", CAPS, NULL);
  fixture_push(f, 0, 3);
  fixture_force_key_unit(f);
  fixture_push(f, 3, 2);
  for (guint i = 0; i < 5; i++) {
    g_autoptr(GstBuffer) buffer = gst_harness_pull(f->harness);
    gboolean key = !GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT);
    g_assert_cmpint(key, ==, i == 0 || i == 3);
  }
}

static void test_flush(Fixture *f, gconstpointer data) {
  relay_make_harness(f, "keyframe-interval=1000", CAPS, NULL);
  fixture_push(f, 0, 3);
  fixture_flush(f);
  guint before = gst_harness_buffers_in_queue(f->harness);
  g_assert_cmpuint(before, <=, 3);
  while (before-- > 0) gst_buffer_unref(gst_harness_pull(f->harness));
  fixture_push(f, 100, 3);
  g_autoptr(GstBuffer) first = gst_harness_pull(f->harness);
  g_assert_cmpuint(GST_BUFFER_PTS(first), ==, 100 * GST_SECOND / 30);
  g_assert_false(GST_BUFFER_FLAG_IS_SET(first, GST_BUFFER_FLAG_DELTA_UNIT));
  fixture_pull(f, 101, 2);
}

static void test_latency(Fixture *f, gconstpointer data) {
  relay_make_harness(f, "max-in-flight=2", CAPS, NULL);
  fixture_encode(f, 0, 5);
  /* At most the frames that may be in flight. */
  g_assert_cmpuint(gst_harness_query_latency(f->harness), <=, 2 * GST_SECOND / 30);
}

/* Frames, settings and key units from separate threads. */
static void test_stress(Fixture *f, gconstpointer data) {
  GstSegment segment;
  g_auto(GValue) bitrate = G_VALUE_INIT;
  g_autoptr(GstCaps) caps = gst_caps_from_string(CAPS);
  relay_make_harness(f, NULL, CAPS, NULL);
  gst_segment_init(&segment, GST_FORMAT_TIME);
  g_autoptr(GstBuffer) buffer = fixture_frame(0);
  g_value_init(&bitrate, G_TYPE_UINT);
  g_value_set_uint(&bitrate, 777);
  GstEvent *key_unit = gst_video_event_new_upstream_force_key_unit(GST_CLOCK_TIME_NONE, TRUE, 1);
  GstHarnessThread *threads[] = {
      gst_harness_stress_push_buffer_start(f->harness, caps, &segment, buffer),
      gst_harness_stress_property_start(f->harness, "bitrate", &bitrate),
      gst_harness_stress_send_upstream_event_start(f->harness, key_unit),
  };
  while (gst_harness_buffers_received(f->harness) < 100) g_usleep(1000);
  for (guint i = G_N_ELEMENTS(threads); i > 0; i--) gst_harness_stress_thread_stop(threads[i - 1]);
  gst_event_unref(key_unit);
  fixture_push_eos(f);
  g_assert_cmpuint(gst_harness_buffers_received(f->harness), >, 0);
  g_assert_cmpuint(gst_harness_buffers_received(f->harness), ==, fixture_stat(f, "frames-in"));
}

void relay_add_live_tests(void) {
  RELAY_TEST("/relay/live/bitrate", test_live_bitrate, NULL);
  RELAY_TEST("/relay/live/keyframe-interval", test_live_interval, NULL);
  RELAY_TEST("/relay/live/rate-control", test_live_rate_control, NULL);
  RELAY_TEST("/relay/force-key-unit", test_force_key_unit, NULL);
  RELAY_TEST("/relay/flush", test_flush, NULL);
  RELAY_TEST("/relay/latency", test_latency, NULL);
  RELAY_TEST("/relay/stress", test_stress, NULL);
}
