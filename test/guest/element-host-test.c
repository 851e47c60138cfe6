/* The element with a host that is absent, hung, lost, rejecting, hostile or slow. */
#include "fixture.h"
#include "gstvsockenc-private.h"
#include "session-private.h"

static void test_no_host(Fixture *f, gconstpointer data) {
  peer_kill(g_steal_pointer(&f->peer));
  fixture_element(f, "connect-timeout=300");
  g_assert_cmpint(gst_element_set_state(f->element, GST_STATE_READY), ==, GST_STATE_CHANGE_FAILURE);
  fixture_expect(f, GST_MESSAGE_ERROR, f->path, "vsockenc relay");
}

static void test_deaf_host(Fixture *f, gconstpointer data) {
  peer_set(f->peer, faults, PEER_DEAF);
  fixture_element(f, "connect-timeout=400");
  g_assert_cmpint(gst_element_set_state(f->element, GST_STATE_READY), ==, GST_STATE_CHANGE_FAILURE);
}

/* A clear error instead of a hang: after the second Greeting, or when the time to connect is over.
 */
static void test_older_host(Fixture *f, gconstpointer fault) {
  peer_set(f->peer, faults, GPOINTER_TO_UINT(fault));
  fixture_element(f, GPOINTER_TO_UINT(fault) == PEER_OLDER_ONCE ? "connect-timeout=2000" : NULL);
  g_assert_cmpint(gst_element_set_state(f->element, GST_STATE_READY), ==, GST_STATE_CHANGE_FAILURE);
  fixture_expect(f, GST_MESSAGE_ERROR, "version 2, the element version 3", "upgrade vsockenc");
}

/* A host that is replaced by an older one. */
static void test_host_becomes_older(Fixture *f, gconstpointer data) {
  fixture_harness(f, NULL);
  fixture_encode(f, 0, 1);
  peer_set(f->peer, faults, PEER_OLDER);
  peer_hang_up(f->peer);
  GThread *pusher = g_thread_new("pusher", fixture_push_forever, f);
  fixture_expect(f, GST_MESSAGE_ERROR, "version 2, the element version 3", "upgrade vsockenc");
  g_thread_join(pusher);
}

/* What is left in a port of an older host, which has been replaced, does no harm. */
static void test_older_leftovers(Fixture *f, gconstpointer data) {
  peer_set(f->peer, faults, PEER_LEFTOVERS);
  fixture_harness(f, NULL);
  fixture_encode(f, 0, 5);
  g_assert_cmpuint(fixture_stat(f, "sessions"), ==, 1);
}

/* Gives the session and its peer numbers that wrap soon, as soon as nothing is under way. */
static void renumber(Fixture *f) {
  const PeerNumbers numbers = {G_MAXUINT32 - 3, G_MAXUINT32 - 2, G_MAXUINT32 - 1, G_MAXUINT32};
  VencSession *session = GST_VSOCK_ENC(f->element)->session;
  VencConnection *connection = &session->connection;
  for (gboolean done = FALSE; !done; g_usleep(1000)) {
    g_autoptr(VencLocked) locked = venc_session_lock(session);
    const PeerNumbers present = {connection->sequence_in, connection->sequence_out,
                                 session->sending.last_number, session->negotiation.serial};
    done = peer_renumber(f->peer, &present, &numbers);
    if (!done) continue;
    connection->sequence_in = numbers.to_guest;
    connection->sequence_out = numbers.from_guest;
    session->sending.last_number = numbers.frame;
    session->negotiation.serial = numbers.serial;
  }
}

/* A session lives longer than 2^32 messages, frames and configurations. */
static void test_wrap(Fixture *f, gconstpointer data) {
  fixture_harness(f, "bitrate=1000");
  fixture_encode(f, 0, 3);
  renumber(f);
  g_object_set(f->element, "bitrate", 3000, NULL);
  fixture_encode(f, 3, 10);
  g_assert_cmpuint(peer_counts(f->peer).configure.serial, ==, 0);
  g_assert_cmpuint(fixture_stat(f, "sessions"), ==, 1);
}

static void test_refused_configuration(Fixture *f, gconstpointer data) {
  peer_set(f->peer, faults, PEER_REFUSE);
  fixture_harness(f, NULL);
  gst_harness_push(f->harness, fixture_frame(0));
  fixture_expect(f, GST_MESSAGE_ERROR, "the peer rejects it", NULL);
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
  gst_element_set_state(f->element, GST_STATE_NULL);
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
  fixture_encode(f, 0, 10);
  peer_set(f->peer, faults, PEER_NO_ANSWERS);
  GThread *pusher = g_thread_new("pusher", push_50, f);
  while (peer_counts(f->peer).frames < 12) g_usleep(1000);
  peer_kill(g_steal_pointer(&f->peer));
  fixture_expect(f, GST_MESSAGE_WARNING, "encoder's host", NULL);
  fixture_peer(f, 0);
  fixture_pull(f, 10, 50);
  g_thread_join(pusher);
  g_assert_cmpuint(fixture_stat(f, "sessions"), ==, 2);
  g_assert_cmpuint(fixture_stat(f, "dropped-disconnected"), ==, 0);
  fixture_expect(f, GST_MESSAGE_INFO, NULL, NULL);
}

/* Live: upstream never waits, lost frames are counted, and the stream resumes with a key frame. */
static void test_host_lost_live(Fixture *f, gconstpointer data) {
  fixture_harness(f, "drop=newest");
  fixture_encode(f, 0, 1);
  peer_kill(g_steal_pointer(&f->peer));
  fixture_expect(f, GST_MESSAGE_WARNING, "encoder's host", NULL);
  fixture_push(f, 1, 20);
  g_assert_cmpuint(fixture_stat(f, "dropped-disconnected"), >=, 19);
  fixture_peer(f, 0);
  guint next = 21;
  for (; fixture_stat(f, "sessions") < 2; g_usleep(1000)) fixture_push(f, next++, 1);
  fixture_push(f, next, 1);
  g_autoptr(GstBuffer) first = gst_harness_pull(f->harness);
  g_assert_true(fixture_is_key(first));
}

static void test_on_disconnect_error(Fixture *f, gconstpointer data) {
  fixture_harness(f, "on-disconnect=error");
  fixture_encode(f, 0, 1);
  peer_kill(g_steal_pointer(&f->peer));
  fixture_expect(f, GST_MESSAGE_ERROR, NULL, NULL);
}

/* A host that keeps rejecting the stream is reported, and upstream does not wait forever. */
static void test_refusing_host(Fixture *f, gconstpointer data) {
  fixture_harness(f, NULL);
  fixture_encode(f, 0, 1);
  peer_set(f->peer, faults, GPOINTER_TO_UINT(data));
  peer_hang_up(f->peer);
  GThread *pusher = g_thread_new("pusher", fixture_push_forever, f);
  fixture_expect(f, GST_MESSAGE_ERROR, NULL, NULL);
  g_thread_join(pusher);
}

/* Many losses in a row, each after another message: no frame is lost or repeated. */
static void test_many_losses(Fixture *f, gconstpointer data) {
  fixture_harness(f, "max-in-flight=4");
  fixture_encode(f, 0, 10);
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
  fixture_encode(f, 0, 2);
  peer_set(f->peer, faults, PEER_REFUSE_ODD);
  g_object_set(f->element, "bitrate", 3001, NULL);
  fixture_encode(f, 2, 3);
  g_assert_cmpuint(peer_counts(f->peer).configure.bitrate_kbps, ==, 1000);
  fixture_expect(f, GST_MESSAGE_WARNING, NULL, NULL);
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
  fixture_encode(f, 0, 1);
  peer_set(f->peer, faults, GPOINTER_TO_UINT(data));
  /* Each violation ends a session. A host that refuses every buffer gets no more frames. */
  guint64 sessions = fixture_stat(f, "sessions");
  for (; fixture_stat(f, "sessions") == sessions; g_usleep(1000)) fixture_push(f, next++, 1);
  peer_set(f->peer, faults, 0);
  guint received = gst_harness_buffers_received(f->harness);
  for (; gst_harness_buffers_received(f->harness) < received + 30; g_usleep(1000))
    fixture_push(f, next++, 1);
}

/* Unusual, but valid: the stream is complete. */
static void test_awkward_host(Fixture *f, gconstpointer data) {
  peer_set(f->peer, faults, GPOINTER_TO_UINT(data));
  fixture_harness(f, NULL);
  fixture_encode(f, 0, 20);
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

/* Opens the element, without the fixture's UNIX socket unless it is in `settings`. */
static void make_element(Fixture *f, const gchar *settings) {
  g_autofree gchar *path = g_steal_pointer(&f->path);
  fixture_element(f, settings);
  f->path = g_steal_pointer(&path);
}

/* `data`: the host's name. */
static void test_tcp(Fixture *f, gconstpointer data) {
  guint16 port;
  Peer *peer = peer_new_tcp(&port);
  g_autofree gchar *settings =
      g_strdup_printf("tcp-host=%s tcp-port=%u cid=7", (const gchar *)data, port);
  g_autofree gchar *expected = g_strdup_printf("%s port %u", (const gchar *)data, port);
  make_element(f, settings);
  f->harness = gst_harness_new_with_element(f->element, "sink", "src");
  gst_harness_set_src_caps_str(f->harness, CAPS);
  fixture_encode(f, 0, 3);
  g_assert_cmpstr(fixture_stat_text(f, "transport"), ==, expected);
  peer_hang_up(peer);
  fixture_encode(f, 3, 3);
  g_assert_cmpuint(fixture_stat(f, "sessions"), ==, 2);
  gst_element_set_state(f->element, GST_STATE_NULL);
  peer_kill(peer);
}

static void test_unix_before_tcp(Fixture *f, gconstpointer data) {
  g_autofree gchar *settings = g_strdup_printf("tcp-host=127.0.0.1 socket-path=%s", f->path);
  make_element(f, settings);
  g_assert_cmpint(gst_element_set_state(f->element, GST_STATE_READY), ==, GST_STATE_CHANGE_SUCCESS);
  g_assert_cmpstr(fixture_stat_text(f, "transport"), ==, f->path);
}

/* `data`: SETTINGS|PART of the error's text. */
static void test_unreachable(Fixture *f, gconstpointer data) {
  g_auto(GStrv) parts = g_strsplit(data, "|", 2);
  make_element(f, parts[0]);
  g_assert_cmpint(gst_element_set_state(f->element, GST_STATE_READY), ==, GST_STATE_CHANGE_FAILURE);
  fixture_expect(f, GST_MESSAGE_ERROR, parts[1], NULL);
}

#define TEST_FAULT(name, test, fault) TEST_WITH(name, test, GUINT_TO_POINTER(PEER_##fault))

static void add(void) {
  TEST("/element/no-host", test_no_host);
  TEST("/element/deaf-host", test_deaf_host);
  TEST_FAULT("/element/older-host/opening", test_older_host, OLDER);
  TEST_FAULT("/element/older-host/once", test_older_host, OLDER_ONCE);
  TEST("/element/older-host/later", test_host_becomes_older);
  TEST("/element/older-host/leftovers", test_older_leftovers);
  TEST("/element/wrap", test_wrap);
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
  TEST_FAULT("/element/awkward/one-byte-writes", test_awkward_host, SHORT_READS);
  TEST_FAULT("/element/awkward/noise", test_awkward_host, NOISE);
  TEST_FAULT("/element/hostile/foreign-frame", test_hostile_host, FOREIGN_FRAME);
  TEST_FAULT("/element/hostile/huge-unit", test_hostile_host, HUGE_UNIT);
  TEST_FAULT("/element/hostile/wrong-offset", test_hostile_host, WRONG_OFFSET);
  TEST_FAULT("/element/hostile/refused-buffers", test_hostile_host, REFUSE_BUFFERS);
  TEST_FAULT("/element/refusing/configuration", test_refusing_host, REFUSE);
  TEST_FAULT("/element/refusing/buffers", test_refusing_host, REFUSE_BUFFERS);
  TEST_FAULT("/element/refusing/units", test_refusing_host, HUGE_UNIT);
  TEST_WITH("/link/tcp", test_tcp, "127.0.0.1");
  TEST_WITH("/link/tcp-name", test_tcp, "localhost");
  TEST("/link/unix-before-tcp", test_unix_before_tcp);
  TEST_WITH("/link/no-host/refused", test_unreachable,
            "tcp-host=127.0.0.1 tcp-port=1 connect-timeout=400|127.0.0.1 port 1");
  /* An address reserved for documentation (RFC 5737). */
  TEST_WITH("/link/no-host/unreachable", test_unreachable,
            "tcp-host=192.0.2.1 connect-timeout=400|192.0.2.1");
  TEST_WITH("/link/no-host/vsock", test_unreachable,
            "cid=4000000000 port=9 connect-timeout=400|vsock 4000000000:9");
}

TEST_MAIN(add)
