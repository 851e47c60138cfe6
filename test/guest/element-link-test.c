/* The ways to the host: which one is taken, and that none of them is waited for longer than told.
 */
#include "fixture.h"

/* The element, with the fixture's UNIX socket only if `settings` says so. */
static void make_element(Fixture *f, const gchar *settings) {
  g_autofree gchar *text =
      g_strdup_printf("vsockenc name=encoder drop=never connect-timeout=400 %s", settings);
  g_autoptr(GError) error = NULL;
  f->element = gst_parse_launch(text, &error);
  g_assert_no_error(error);
  f->bus = gst_bus_new();
  gst_element_set_bus(f->element, f->bus);
}

static gchar *dup_transport(Fixture *f) {
  g_autoptr(GstStructure) stats = NULL;
  g_object_get(f->element, "stats", &stats, NULL);
  return g_strdup(gst_structure_get_string(stats, "transport"));
}

/* `data` is the host's name. */
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
  (void)data;
  make_element(f, settings);
  g_assert_cmpint(gst_element_set_state(f->element, GST_STATE_READY), ==, GST_STATE_CHANGE_SUCCESS);
  g_autofree gchar *transport = dup_transport(f);
  g_assert_cmpstr(transport, ==, f->path);
}

/* `data`: settings, a bar, and a word of the error. */
static void test_nobody(Fixture *f, gconstpointer data) {
  g_auto(GStrv) parts = g_strsplit(data, "|", 2);
  make_element(f, parts[0]);
  g_assert_cmpint(gst_element_set_state(f->element, GST_STATE_READY), ==, GST_STATE_CHANGE_FAILURE);
  g_autoptr(GstMessage) message = fixture_wait_message(f, GST_MESSAGE_ERROR, 1);
  g_autofree gchar *text = fixture_error_text(message);
  g_test_message("%s", text);
  g_assert_nonnull(strstr(text, parts[1]));
}

static void add_with(const gchar *name, const gchar *data, void (*test)(Fixture *, gconstpointer)) {
  g_test_add(name, Fixture, data, fixture_setup, test, fixture_teardown);
}

static void add(void) {
  add_with("/link/tcp", "127.0.0.1", test_tcp);
  add_with("/link/tcp-name", "localhost", test_tcp);
  TEST("/link/unix-before-tcp", test_unix_before_tcp);
  add_with("/link/nobody/refused", "tcp-host=127.0.0.1 tcp-port=1|127.0.0.1 port 1", test_nobody);
  /* An address that no machine has (RFC 5737). */
  add_with("/link/nobody/unreachable", "tcp-host=192.0.2.1|192.0.2.1", test_nobody);
  add_with("/link/nobody/vsock", "cid=4000000000 port=9|vsock 4000000000:9", test_nobody);
}

int main(int argc, char **argv) {
  return fixture_main(argc, argv, add);
}
