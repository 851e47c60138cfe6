/* Choice of the transport, and its time-outs. */
#include "fixture.h"

/* Opens the element, without the fixture's UNIX socket unless it is in `settings`. */
static void make_element(Fixture *f, const gchar *settings) {
  g_autofree gchar *path = g_steal_pointer(&f->path);
  fixture_element(f, settings);
  f->path = g_steal_pointer(&path);
}

static gchar *dup_transport(Fixture *f) {
  g_autoptr(GstStructure) stats = NULL;
  g_object_get(f->element, "stats", &stats, NULL);
  return g_strdup(gst_structure_get_string(stats, "transport"));
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
  fixture_push(f, 0, 3);
  fixture_pull(f, 0, 3);
  g_autofree gchar *transport = dup_transport(f);
  g_assert_cmpstr(transport, ==, expected);
  peer_hang_up(peer);
  fixture_push(f, 3, 3);
  fixture_pull(f, 3, 3);
  g_assert_cmpuint(fixture_stat(f, "sessions"), ==, 2);
  gst_element_set_state(f->element, GST_STATE_NULL);
  peer_kill(peer);
}

static void test_unix_before_tcp(Fixture *f, gconstpointer data) {
  g_autofree gchar *settings = g_strdup_printf("tcp-host=127.0.0.1 socket-path=%s", f->path);
  make_element(f, settings);
  g_assert_cmpint(gst_element_set_state(f->element, GST_STATE_READY), ==, GST_STATE_CHANGE_SUCCESS);
  g_autofree gchar *transport = dup_transport(f);
  g_assert_cmpstr(transport, ==, f->path);
}

/* `data`: SETTINGS|PART of the error's text. */
static void test_no_host(Fixture *f, gconstpointer data) {
  g_auto(GStrv) parts = g_strsplit(data, "|", 2);
  make_element(f, parts[0]);
  g_assert_cmpint(gst_element_set_state(f->element, GST_STATE_READY), ==, GST_STATE_CHANGE_FAILURE);
  fixture_expect(f, GST_MESSAGE_ERROR, parts[1]);
}

static void add(void) {
  TEST_WITH("/link/tcp", test_tcp, "127.0.0.1");
  TEST_WITH("/link/tcp-name", test_tcp, "localhost");
  TEST("/link/unix-before-tcp", test_unix_before_tcp);
  TEST_WITH("/link/no-host/refused", test_no_host,
            "tcp-host=127.0.0.1 tcp-port=1 connect-timeout=400|127.0.0.1 port 1");
  /* An address reserved for documentation (RFC 5737). */
  TEST_WITH("/link/no-host/unreachable", test_no_host,
            "tcp-host=192.0.2.1 connect-timeout=400|192.0.2.1");
  TEST_WITH("/link/no-host/vsock", test_no_host,
            "cid=4000000000 port=9 connect-timeout=400|vsock 4000000000:9");
}

TEST_MAIN(add)
