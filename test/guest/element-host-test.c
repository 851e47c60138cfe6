/* The element with a host that is absent, hung, lost, rejecting, hostile or slow. */
#include "fixture.h"

static void test_no_host(Fixture *f, gconstpointer data) {
  peer_kill(g_steal_pointer(&f->peer));
  fixture_element(f, "connect-timeout=300");
  g_assert_cmpint(gst_element_set_state(f->element, GST_STATE_READY), ==, GST_STATE_CHANGE_FAILURE);
  g_autofree gchar *text = fixture_wait(f, GST_MESSAGE_ERROR);
  g_assert_nonnull(strstr(text, f->path));
  g_assert_nonnull(strstr(text, "vsockenc relay"));
}

static void test_deaf_host(Fixture *f, gconstpointer data) {
  peer_set(f->peer, faults, PEER_DEAF);
  fixture_element(f, "connect-timeout=400");
  g_assert_cmpint(gst_element_set_state(f->element, GST_STATE_READY), ==, GST_STATE_CHANGE_FAILURE);
}

static void test_refused_configuration(Fixture *f, gconstpointer data) {
  peer_set(f->peer, faults, PEER_REFUSE);
  fixture_harness(f, NULL);
  gst_harness_push(f->harness, fixture_frame(0));
  fixture_expect(f, GST_MESSAGE_ERROR, "the peer rejects it");
}

static gpointer stop_element(gpointer data) {
  gst_element_set_state(data, GST_STATE_NULL);
  return NULL;
}

/*
 * A host that accepts frames and never answers must not block a state change. With drop=never only
 * the interruption ends the wait; the benchmark `interrupts` measures how soon.
 */
static void test_hung_host(Fixture *f, gconstpointer data) {
  fixture_harness(f, "drop=never");
  peer_set(f->peer, faults, PEER_NO_ANSWERS);
  GThread *pusher = g_thread_new("pusher", fixture_push_forever, f);
  fixture_wait_stat(f, "frames-in", 3);
  GThread *stopper = g_thread_new("stopper", stop_element, f->element);
  g_thread_join(stopper);
  g_thread_join(pusher);
}

static gpointer send_eos(gpointer data) {
  Fixture *f = data;
  gst_harness_push_event(f->harness, gst_event_new_eos());
  return NULL;
}

static void test_hung_drain(Fixture *f, gconstpointer data) {
  fixture_harness(f, "drop=never");
  peer_set(f->peer, faults, PEER_NO_ANSWERS);
  fixture_push(f, 0, 2);
  GThread *drainer = g_thread_new("drainer", send_eos, f);
  while (peer_counts(f->peer).drains == 0) g_usleep(1000);
  gst_element_set_state(f->element, GST_STATE_READY);
  g_thread_join(drainer);
}

static gpointer push_50(gpointer data) {
  fixture_push(data, 10, 50);
  return NULL;
}

/* Not live: no frame is lost when the host is killed with frames in flight. */
static void test_host_lost_lossless(Fixture *f, gconstpointer data) {
  fixture_harness(f, NULL);
  fixture_push(f, 0, 10);
  fixture_pull(f, 0, 10);
  peer_set(f->peer, faults, PEER_NO_ANSWERS);
  GThread *pusher = g_thread_new("pusher", push_50, f);
  while (peer_counts(f->peer).frames < 12) g_usleep(1000);
  peer_kill(g_steal_pointer(&f->peer));
  fixture_expect(f, GST_MESSAGE_WARNING, "encoder's host");
  fixture_peer(f, 0);
  fixture_pull(f, 10, 50);
  g_thread_join(pusher);
  g_assert_cmpuint(fixture_stat(f, "sessions"), ==, 2);
  g_assert_cmpuint(fixture_stat(f, "dropped-disconnected"), ==, 0);
  fixture_expect(f, GST_MESSAGE_INFO, NULL);
}

/* Live: upstream never waits, lost frames are counted, and the stream resumes with a key frame. */
static void test_host_lost_live(Fixture *f, gconstpointer data) {
  fixture_harness(f, "drop=newest");
  fixture_push(f, 0, 1);
  fixture_pull(f, 0, 1);
  peer_kill(g_steal_pointer(&f->peer));
  fixture_expect(f, GST_MESSAGE_WARNING, "encoder's host");
  fixture_push(f, 1, 20);
  g_assert_cmpuint(fixture_stat(f, "dropped-disconnected"), >=, 19);
  fixture_peer(f, 0);
  guint next = 21;
  for (; fixture_stat(f, "sessions") < 2; g_usleep(1000)) fixture_push(f, next++, 1);
  fixture_push(f, next, 1);
  g_autoptr(GstBuffer) first = gst_harness_pull(f->harness);
  g_assert_false(GST_BUFFER_FLAG_IS_SET(first, GST_BUFFER_FLAG_DELTA_UNIT));
}

static void test_on_disconnect_error(Fixture *f, gconstpointer data) {
  fixture_harness(f, "on-disconnect=error");
  fixture_push(f, 0, 1);
  fixture_pull(f, 0, 1);
  peer_kill(g_steal_pointer(&f->peer));
  fixture_expect(f, GST_MESSAGE_ERROR, NULL);
}

/* A host that keeps rejecting the stream is reported, and upstream does not wait forever. */
static void test_refusing_host(Fixture *f, gconstpointer data) {
  guint fault = GPOINTER_TO_UINT(data);
  fixture_harness(f, NULL);
  fixture_push(f, 0, 1);
  fixture_pull(f, 0, 1);
  peer_set(f->peer, faults, fault);
  peer_hang_up(f->peer);
  GThread *pusher = g_thread_new("pusher", fixture_push_forever, f);
  fixture_expect(f, GST_MESSAGE_ERROR, NULL);
  g_thread_join(pusher);
}

/* Many losses in a row, each after another message: no frame is lost or repeated. */
static void test_many_losses(Fixture *f, gconstpointer data) {
  fixture_harness(f, "max-in-flight=4");
  fixture_push(f, 0, 10);
  fixture_pull(f, 0, 10);
  GThread *pusher = g_thread_new("pusher", push_50, f);
  for (guint i = 10; i < 60; i++) {
    if (i % 4 == 3) peer_set(f->peer, hang_up_after, 1 + i / 4);
    fixture_pull(f, i, 1);
  }
  g_thread_join(pusher);
}

/* A rejected change leaves the configuration as it was. */
static void test_refused_change(Fixture *f, gconstpointer data) {
  fixture_harness(f, "bitrate=1000");
  fixture_push(f, 0, 2);
  fixture_pull(f, 0, 2);
  peer_set(f->peer, faults, PEER_REFUSE_ODD);
  g_object_set(f->element, "bitrate", 3001, NULL);
  fixture_push(f, 2, 3);
  fixture_pull(f, 2, 3);
  PeerCounts counts = peer_counts(f->peer);
  g_assert_cmpuint(counts.bitrate_kbps, ==, 1000);
  fixture_expect(f, GST_MESSAGE_WARNING, NULL);
}

/* Only the newest waiting frame is kept. */
static void test_newest(Fixture *f, gconstpointer data) {
  peer_set(f->peer, faults, PEER_NO_ANSWERS);
  fixture_harness(f, "drop=newest max-in-flight=1");
  fixture_push(f, 0, 10);
  peer_set(f->peer, faults, 0);
  fixture_pull(f, 0, 1);
  fixture_pull(f, 9, 1);
  g_assert_cmpuint(fixture_stat(f, "dropped-newer"), ==, 8);
}

/* The element survives protocol violations by the host, and the stream continues after them. */
static void test_hostile_host(Fixture *f, gconstpointer data) {
  guint next = 1;
  fixture_harness(f, "drop=newest");
  fixture_push(f, 0, 1);
  fixture_pull(f, 0, 1);
  peer_set(f->peer, faults, GPOINTER_TO_UINT(data));
  guint frames = peer_counts(f->peer).frames;
  for (; peer_counts(f->peer).frames < frames + 2; g_usleep(1000)) fixture_push(f, next++, 1);
  peer_set(f->peer, faults, 0);
  guint received = gst_harness_buffers_received(f->harness);
  for (; gst_harness_buffers_received(f->harness) < received + 30; g_usleep(1000))
    fixture_push(f, next++, 1);
}

/* Unusual, but valid: the stream is complete. */
static void test_awkward_host(Fixture *f, gconstpointer data) {
  guint fault = GPOINTER_TO_UINT(data);
  peer_set(f->peer, faults, fault);
  fixture_harness(f, NULL);
  fixture_push(f, 0, 20);
  fixture_pull(f, 0, 20);
  g_assert_cmpuint(fixture_stat(f, "sessions"), ==, 1);
}

static void test_large_units(Fixture *f, gconstpointer data) {
  peer_set(f->peer, unit_bytes, 200000);
  fixture_harness(f, NULL);
  fixture_push(f, 0, 20);
  for (guint i = 0; i < 20; i++) {
    g_autoptr(GstBuffer) buffer = gst_harness_pull(f->harness);
    g_assert_cmpuint(gst_buffer_get_size(buffer), >, 200000);
  }
}

static void test_host_drops(Fixture *f, gconstpointer data) {
  peer_set(f->peer, faults, PEER_DROP_ODD);
  fixture_harness(f, NULL);
  fixture_push(f, 0, 10);
  fixture_push_eos(f);
  g_assert_cmpuint(gst_harness_buffers_received(f->harness), ==, 5);
  g_assert_cmpuint(fixture_stat(f, "dropped-encoder"), ==, 5);
}

static void add(void) {
  TEST("/element/no-host", test_no_host);
  TEST("/element/deaf-host", test_deaf_host);
  TEST("/element/refused-configuration", test_refused_configuration);
  TEST("/element/hung-host", test_hung_host);
  TEST("/element/hung-drain", test_hung_drain);
  TEST("/element/host-lost-lossless", test_host_lost_lossless);
  TEST("/element/host-lost-live", test_host_lost_live);
  TEST("/element/on-disconnect-error", test_on_disconnect_error);
  TEST("/element/many-losses", test_many_losses);
  TEST("/element/refused-change", test_refused_change);
  TEST("/element/newest", test_newest);
  TEST("/element/large-units", test_large_units);
  TEST("/element/host-drops", test_host_drops);
  TEST_WITH("/element/awkward/one-byte-writes", test_awkward_host,
            GUINT_TO_POINTER(PEER_SHORT_READS));
  TEST_WITH("/element/awkward/noise", test_awkward_host, GUINT_TO_POINTER(PEER_NOISE));
  TEST_WITH("/element/hostile/foreign-frame", test_hostile_host,
            GUINT_TO_POINTER(PEER_FOREIGN_FRAME));
  TEST_WITH("/element/hostile/huge-unit", test_hostile_host, GUINT_TO_POINTER(PEER_HUGE_UNIT));
  TEST_WITH("/element/hostile/wrong-offset", test_hostile_host,
            GUINT_TO_POINTER(PEER_WRONG_OFFSET));
  TEST_WITH("/element/hostile/refused-buffers", test_hostile_host,
            GUINT_TO_POINTER(PEER_REFUSE_BUFFERS));
  TEST_WITH("/element/refusing/configuration", test_refusing_host, GUINT_TO_POINTER(PEER_REFUSE));
  TEST_WITH("/element/refusing/buffers", test_refusing_host, GUINT_TO_POINTER(PEER_REFUSE_BUFFERS));
  TEST_WITH("/element/refusing/units", test_refusing_host, GUINT_TO_POINTER(PEER_HUGE_UNIT));
}

TEST_MAIN(add)
