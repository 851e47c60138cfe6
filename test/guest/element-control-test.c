/* Control while the stream runs: rate, key frames, QoS; and its tags. */
#include <gst/video/video.h>

#include "fake-gpu.h"
#include "fixture.h"
#include "stream.pb.h"

static void test_rate_control(Fixture *f, gconstpointer data) {
  fixture_harness(f, NULL);
  fixture_push(f, 0, 1);
  g_assert_cmpuint(peer_counts(f->peer).configure.rate_control, ==, vsockenc_RateControl_CBR);
  gst_util_set_object_arg(G_OBJECT(f->element), "rate-control", "vbr");
  g_object_set(f->element, "keyframe-interval", 7, NULL);
  fixture_push(f, 1, 2);
  fixture_pull(f, 0, 3);
  g_assert_cmpuint(peer_counts(f->peer).configure.rate_control, ==, vsockenc_RateControl_VBR);
  g_assert_cmpuint(peer_counts(f->peer).configure.keyframe_interval, ==, 7);
  g_assert_cmpuint(peer_counts(f->peer).configures, ==, 2);
}

/* Values too large for kbit/s are read as bit/s, with one warning for each value. */
static void test_bits_per_second(Fixture *f, gconstpointer data) {
  fixture_harness(f, "bitrate=8000000");
  g_assert_cmpuint(peer_counts(f->peer).configure.bitrate_kbps, ==, 8000);
  g_assert_cmpuint(fixture_count_warnings(f, "bitrate=8000000"), ==, 1);
  g_object_set(f->element, "keyframe-interval", 7, NULL);
  fixture_push(f, 0, 1);
  g_assert_cmpuint(fixture_count_warnings(f, "bit/s"), ==, 0);
  g_object_set(f->element, "bitrate", 4294967295u, NULL);
  fixture_push(f, 1, 1);
  fixture_pull(f, 0, 2);
  g_assert_cmpuint(fixture_count_warnings(f, "bitrate=4294967295"), ==, 1);
  g_assert_cmpuint(peer_counts(f->peer).configure.bitrate_kbps, ==, VSOCKENC_MAX_BITRATE_KBPS);
  g_object_set(f->element, "bitrate", VSOCKENC_MAX_BITRATE_KBPS, NULL);
  fixture_encode(f, 2, 1);
  g_assert_cmpuint(peer_counts(f->peer).configure.bitrate_kbps, ==, VSOCKENC_MAX_BITRATE_KBPS);
}

/* The last tags sent downstream. */
static GstTagList *pull_tags(Fixture *f) {
  GstTagList *tags = NULL;
  GstEvent *event;
  while ((event = gst_harness_try_pull_event(f->harness))) {
    if (GST_EVENT_TYPE(event) == GST_EVENT_TAG) {
      g_clear_pointer(&tags, gst_tag_list_unref);
      gst_event_parse_tag(event, &tags);
      gst_tag_list_ref(tags);
    }
    gst_event_unref(event);
  }
  return tags;
}

static guint tag_number(const GstTagList *tags, const gchar *name) {
  guint value = 0;
  g_assert_nonnull(tags);
  g_assert_true(gst_tag_list_get_uint(tags, name, &value));
  return value;
}

static void test_tags(Fixture *f, gconstpointer data) {
  g_autofree gchar *encoder = NULL;
  g_autofree gchar *codec = NULL;
  fixture_harness(f, NULL);
  fixture_encode(f, 0, 1);
  g_autoptr(GstTagList) first = pull_tags(f);
  /* The host's choice. */
  g_assert_cmpuint(tag_number(first, GST_TAG_NOMINAL_BITRATE), ==, 777000);
  g_assert_cmpuint(tag_number(first, GST_TAG_ENCODER_VERSION), >, 0);
  g_assert_true(gst_tag_list_get_string(first, GST_TAG_ENCODER, &encoder));
  g_assert_true(g_str_has_prefix(encoder, "peer, by vsockenc "));
  g_assert_true(gst_tag_list_get_string(first, GST_TAG_VIDEO_CODEC, &codec));
  g_object_set(f->element, "bitrate", 3000, NULL);
  fixture_encode(f, 1, 1);
  g_autoptr(GstTagList) second = pull_tags(f);
  g_assert_cmpuint(tag_number(second, GST_TAG_NOMINAL_BITRATE), ==, 3000000);
}

/* Downstream is two seconds late. */
static void send_qos(Fixture *f) {
  gst_harness_push_upstream_event(
      f->harness, gst_event_new_qos(GST_QOS_TYPE_UNDERFLOW, 0.5, 2 * GST_SECOND, GST_SECOND / 30));
}

static void test_late(Fixture *f, gconstpointer data) {
  fixture_harness(f, "drop=newest qos=true");
  fixture_encode(f, 0, 1);
  send_qos(f);
  fixture_push(f, 1, 3);
  g_assert_cmpuint(fixture_stat(f, "dropped-late"), ==, 3);
  fixture_force_key_unit(f);
  fixture_push(f, 4, 1);
  gst_buffer_unref(fixture_pull_key(f, 4));
  g_assert_cmpuint(fixture_stat(f, "dropped-late"), ==, 3);
  g_assert_cmpuint(peer_counts(f->peer).frames, ==, 2);
}

/* Late frames are kept in lossless pipelines, and without qos. */
static void test_never_late(Fixture *f, gconstpointer data) {
  fixture_harness(f, data);
  fixture_encode(f, 0, 1);
  send_qos(f);
  fixture_encode(f, 1, 1);
  g_assert_cmpuint(fixture_stat(f, "dropped-late"), ==, 0);
}

/* From upstream: the key frame has its parameter sets, and the event precedes it downstream. */
static void test_force_key_from_upstream(Fixture *f, gconstpointer data) {
  GstClockTime running_time = GST_CLOCK_TIME_NONE;
  gboolean all_headers = FALSE, found = FALSE;
  guint count = 0;
  GstEvent *event;
  guint8 head = 0;
  fixture_harness(f, NULL);
  fixture_push(f, 0, 3);
  g_assert_true(gst_harness_push_event(
      f->harness, gst_video_event_new_downstream_force_key_unit(
                      3 * GST_SECOND / 30, 3 * GST_SECOND / 30, 3 * GST_SECOND / 30, TRUE, 42)));
  fixture_push(f, 3, 1);
  fixture_pull(f, 0, 3);
  g_autoptr(GstBuffer) key = fixture_pull_key(f, 3);
  gst_buffer_extract(key, 4, &head, 1);
  g_assert_cmphex(head, ==, 0x67);
  while ((event = gst_harness_try_pull_event(f->harness))) {
    if (gst_video_event_is_force_key_unit(event))
      found = gst_video_event_parse_downstream_force_key_unit(event, NULL, NULL, &running_time,
                                                              &all_headers, &count);
    gst_event_unref(event);
  }
  g_assert_true(found);
  g_assert_cmpuint(running_time, ==, 3 * GST_SECOND / 30);
  g_assert_true(all_headers);
  g_assert_cmpuint(count, ==, 42);
}

/* As many frames as the host held at one time, at 30 frames a second. */
static void test_latency(Fixture *f, gconstpointer data) {
  peer_set(f->peer, faults, PEER_NO_ANSWERS);
  fixture_harness(f, "max-in-flight=3");
  fixture_push(f, 0, 3);
  peer_set(f->peer, faults, 0);
  fixture_pull(f, 0, 3);
  g_assert_cmpuint(gst_harness_query_latency(f->harness), ==, 3 * (GST_SECOND / 30));
}

/* The pool has no more buffers than can be attached. */
static void test_pool_bound(Fixture *f, gconstpointer data) {
  GstBufferPool *pool = NULL;
  guint least = 0, most = 0;
  fixture_harness(f, NULL);
  g_autoptr(GstCaps) caps = gst_caps_from_string(CAPS);
  g_autoptr(GstQuery) query = gst_query_new_allocation(caps, TRUE);
  g_autoptr(GstPad) pad = gst_element_get_static_pad(f->element, "sink");
  g_assert_true(gst_pad_query(pad, query));
  gst_query_parse_nth_allocation_pool(query, 0, &pool, NULL, &least, &most);
  g_assert_nonnull(pool);
  g_assert_cmpuint(least, >, 0);
  g_assert_cmpuint(most, ==, VSOCKENC_MAX_ATTACHED_BUFFERS);
  GstStructure *config = gst_buffer_pool_get_config(pool);
  gst_buffer_pool_config_get_params(config, NULL, NULL, NULL, &most);
  g_assert_cmpuint(most, ==, VSOCKENC_MAX_ATTACHED_BUFFERS);
  gst_structure_free(config);
  gst_object_unref(pool);
}

/* The same DmaBuf repeatedly, whose Attach the host does not answer: one further frame may wait. */
static void test_same_buffer(Fixture *f, gconstpointer data) {
  peer_set(f->peer, faults, PEER_NO_ATTACHED);
  fixture_harness(f, "drop=newest");
  g_autoptr(GstBuffer) shared = fixture_dmabuf(0, fake_gpu_new_dmabuf(65536), 65536);
  for (guint i = 0; i < 50; i++) fixture_push_buffer(f, fixture_stamp(gst_buffer_copy(shared), i));
  g_assert_cmpuint(fixture_stat(f, "dropped-newer"), ==, 48);
}

/* A flushing seek in a whole pipeline: the stream goes on from there with a key frame. */
static void test_seek(Fixture *f, gconstpointer data) {
  g_autoptr(GstElement) pipeline = fixture_play(
      f, "60 ! video/x-raw,format=BGRx,width=64,height=48,framerate=30/1", "sync=true");
  for (guint i = 0; i < 5; i++) {
    fixture_wait_stat(f, "frames-encoded", 5 * (i + 1));
    g_assert_true(gst_element_seek_simple(pipeline, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, 0));
  }
  fixture_wait_eos(pipeline);
  g_assert_cmpuint(peer_counts(f->peer).forced, >=, 5);
  gst_element_set_state(pipeline, GST_STATE_NULL);
}

static void add(void) {
  TEST("/control/rate-control", test_rate_control);
  TEST("/control/bits-per-second", test_bits_per_second);
  TEST("/control/tags", test_tags);
  TEST("/control/late", test_late);
  TEST_WITH("/control/never-late/lossless", test_never_late, "drop=never qos=true");
  TEST_WITH("/control/never-late/no-qos", test_never_late, "drop=newest");
  TEST("/control/force-key-from-upstream", test_force_key_from_upstream);
  TEST("/control/latency", test_latency);
  TEST("/control/pool-bound", test_pool_bound);
  TEST("/control/same-buffer", test_same_buffer);
  TEST("/control/seek", test_seek);
}

TEST_MAIN(add)
