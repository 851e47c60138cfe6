/* The element with a host that is absent, slow, gone, refusing, hostile or merely awkward. */
#include "fixture.h"

static void test_no_host(Fixture *f, gconstpointer data) {
  (void)data;
  peer_kill(g_steal_pointer(&f->peer));
  fixture_element(f, "connect-timeout=300");
  g_assert_cmpint(gst_element_set_state(f->element, GST_STATE_READY), ==, GST_STATE_CHANGE_FAILURE);
  g_autoptr(GstMessage) message = fixture_wait_message(f, GST_MESSAGE_ERROR, 1);
  g_autofree gchar *text = fixture_error_text(message);
  g_assert_nonnull(strstr(text, f->path));
  g_assert_nonnull(strstr(text, "vsockenc relay"));
}

static void test_deaf_host(Fixture *f, gconstpointer data) {
  (void)data;
  peer_set_faults(f->peer, PEER_DEAF);
  fixture_element(f, "connect-timeout=400");
  g_assert_cmpint(gst_element_set_state(f->element, GST_STATE_READY), ==, GST_STATE_CHANGE_FAILURE);
}

static void test_refused_configuration(Fixture *f, gconstpointer data) {
  (void)data;
  peer_set_faults(f->peer, PEER_REFUSE);
  fixture_harness(f, NULL);
  gst_harness_push(f->harness, fixture_frame(0));
  g_autoptr(GstMessage) message = fixture_wait_message(f, GST_MESSAGE_ERROR, 1);
  g_autofree gchar *text = fixture_error_text(message);
  g_assert_nonnull(strstr(text, "the peer was told to refuse"));
}

static gpointer stop_element(gpointer data) {
  gst_element_set_state(data, GST_STATE_NULL);
  return NULL;
}

static gpointer push_forever(gpointer data) {
  Fixture *f = data;
  for (guint i = 0; gst_harness_push(f->harness, fixture_frame(i)) == GST_FLOW_OK; i++) continue;
  return NULL;
}

/*
 * A host that takes frames and never answers must not hold up a state change. With drop=never
 * nothing but the interruption ends a wait; how soon it does is measured by the bench's case
 * `interrupts`.
 */
static void test_hung_host(Fixture *f, gconstpointer data) {
  (void)data;
  fixture_harness(f, "drop=never");
  peer_set_faults(f->peer, PEER_NO_ANSWERS);
  GThread *pusher = g_thread_new("pusher", push_forever, f);
  g_usleep(200000);
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
  (void)data;
  fixture_harness(f, "drop=never");
  peer_set_faults(f->peer, PEER_NO_ANSWERS);
  fixture_push(f, 0, 2);
  GThread *drainer = g_thread_new("drainer", send_eos, f);
  g_usleep(200000);
  gst_element_set_state(f->element, GST_STATE_READY);
  g_thread_join(drainer);
}

static gpointer push_slowly(gpointer data) {
  Fixture *f = data;
  for (guint i = 0; i < 60; i++) {
    g_assert_cmpint(gst_harness_push(f->harness, fixture_frame(i)), ==, GST_FLOW_OK);
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
  fixture_pull(f, 0, 10);
  peer_kill(g_steal_pointer(&f->peer));
  g_usleep(300000);
  fixture_peer(f, 0);
  fixture_pull(f, 10, 1);
  fixture_pull(f, 11, 49);
  g_thread_join(pusher);
  g_assert_cmpuint(fixture_stat(f, "sessions"), ==, 2);
  g_assert_cmpuint(fixture_stat(f, "dropped-disconnected"), ==, 0);
  g_autoptr(GstMessage) lost = fixture_wait_message(f, GST_MESSAGE_WARNING, 1);
  g_assert_nonnull(lost);
  g_autoptr(GstMessage) returned = fixture_wait_message(f, GST_MESSAGE_INFO, 1);
  g_assert_nonnull(returned);
}

/* Live: upstream never waits, what is lost is counted, and the stream goes on with a key frame. */
static void test_host_lost_live(Fixture *f, gconstpointer data) {
  guint64 dropped;
  (void)data;
  fixture_harness(f, "drop=newest");
  fixture_push(f, 0, 1);
  fixture_pull(f, 0, 1);
  peer_kill(g_steal_pointer(&f->peer));
  g_usleep(100000);
  fixture_push(f, 1, 20);
  dropped = fixture_stat(f, "dropped-disconnected");
  g_assert_cmpuint(dropped, >=, 19);
  fixture_peer(f, 0);
  for (guint i = 21; fixture_stat(f, "sessions") < 2 && i < 400; i++) {
    fixture_push(f, i, 1);
    g_usleep(5000);
  }
  fixture_push(f, 400, 1);
  g_autoptr(GstBuffer) first = gst_harness_pull(f->harness);
  g_assert_false(GST_BUFFER_FLAG_IS_SET(first, GST_BUFFER_FLAG_DELTA_UNIT));
}

static void test_on_disconnect_error(Fixture *f, gconstpointer data) {
  (void)data;
  fixture_harness(f, "on-disconnect=error");
  fixture_push(f, 0, 1);
  fixture_pull(f, 0, 1);
  peer_kill(g_steal_pointer(&f->peer));
  g_autoptr(GstMessage) message = fixture_wait_message(f, GST_MESSAGE_ERROR, 2);
  g_assert_nonnull(message);
}

/* A host that refuses for good is reported, and nobody waits for it for ever. */
static void test_refusing_host(Fixture *f, gconstpointer data) {
  guint fault = GPOINTER_TO_UINT(data);
  fixture_harness(f, NULL);
  fixture_push(f, 0, 1);
  fixture_pull(f, 0, 1);
  peer_set_faults(f->peer, fault);
  peer_hang_up(f->peer);
  GThread *pusher = g_thread_new("pusher", push_forever, f);
  g_autoptr(GstMessage) message = fixture_wait_message(f, GST_MESSAGE_ERROR, 10);
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
    fixture_pull(f, i, 1);
  }
  g_thread_join(pusher);
}

/* A change that the host refuses leaves things as they were. */
static void test_refused_change(Fixture *f, gconstpointer data) {
  PeerCounts counts;
  (void)data;
  fixture_harness(f, "bitrate=1000");
  fixture_push(f, 0, 2);
  fixture_pull(f, 0, 2);
  peer_set_faults(f->peer, PEER_REFUSE_ODD);
  g_object_set(f->element, "bitrate", 3001, NULL);
  fixture_push(f, 2, 3);
  fixture_pull(f, 2, 3);
  peer_get_counts(f->peer, &counts);
  g_assert_cmpuint(counts.bitrate_kbps, ==, 1000);
  g_autoptr(GstMessage) message = fixture_wait_message(f, GST_MESSAGE_WARNING, 1);
  g_assert_nonnull(message);
}

/* The newest frame wins; nothing waits. */
static void test_newest(Fixture *f, gconstpointer data) {
  (void)data;
  peer_set_delay(f->peer, 200);
  fixture_harness(f, "drop=newest max-in-flight=1");
  fixture_push(f, 0, 10);
  fixture_pull(f, 0, 1);
  fixture_pull(f, 9, 1);
  g_assert_cmpuint(fixture_stat(f, "dropped-newer"), ==, 8);
}

/* Whatever the host sends, the element survives and says what was wrong, or goes on. */
static void test_hostile_host(Fixture *f, gconstpointer data) {
  guint fault = GPOINTER_TO_UINT(data);
  fixture_harness(f, "drop=newest");
  fixture_push(f, 0, 1);
  fixture_pull(f, 0, 1);
  peer_set_faults(f->peer, fault);
  for (guint i = 1; i < 30; i++) {
    fixture_push(f, i, 1);
    g_usleep(5000);
  }
  peer_set_faults(f->peer, 0);
  for (guint i = 30; i < 400 && gst_harness_buffers_received(f->harness) < 40; i++) {
    fixture_push(f, i, 1);
    g_usleep(5000);
  }
  g_assert_cmpuint(gst_harness_buffers_received(f->harness), >=, 40);
}

/* These are no faults of the host: the stream comes through whole. */
static void test_awkward_host(Fixture *f, gconstpointer data) {
  guint fault = GPOINTER_TO_UINT(data);
  peer_set_faults(f->peer, fault);
  fixture_harness(f, NULL);
  fixture_push(f, 0, 20);
  fixture_pull(f, 0, 20);
  g_assert_cmpuint(fixture_stat(f, "sessions"), ==, 1);
}

static void test_large_units(Fixture *f, gconstpointer data) {
  (void)data;
  peer_set_unit_bytes(f->peer, 200000);
  fixture_harness(f, NULL);
  fixture_push(f, 0, 20);
  for (guint i = 0; i < 20; i++) {
    g_autoptr(GstBuffer) buffer = gst_harness_pull(f->harness);
    g_assert_cmpuint(gst_buffer_get_size(buffer), >, 200000);
  }
}

static void test_host_drops(Fixture *f, gconstpointer data) {
  (void)data;
  peer_set_faults(f->peer, PEER_DROP_ODD);
  fixture_harness(f, NULL);
  fixture_push(f, 0, 10);
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_eos()));
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
  FAULT("/element/awkward/one-byte-writes", test_awkward_host, PEER_SHORT_READS);
  FAULT("/element/awkward/noise", test_awkward_host, PEER_NOISE);
  FAULT("/element/hostile/foreign-frame", test_hostile_host, PEER_FOREIGN_FRAME);
  FAULT("/element/hostile/huge-unit", test_hostile_host, PEER_HUGE_UNIT);
  FAULT("/element/hostile/wrong-offset", test_hostile_host, PEER_WRONG_OFFSET);
  FAULT("/element/hostile/refused-buffers", test_hostile_host, PEER_REFUSE_BUFFERS);
  FAULT("/element/refusing/configuration", test_refusing_host, PEER_REFUSE);
  FAULT("/element/refusing/buffers", test_refusing_host, PEER_REFUSE_BUFFERS);
  FAULT("/element/refusing/units", test_refusing_host, PEER_HUGE_UNIT);
}

int main(int argc, char **argv) {
  return fixture_main(argc, argv, add);
}
