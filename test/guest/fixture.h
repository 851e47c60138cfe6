/* What every test of the element has: a relay of its own, the element, and where its messages go.
 */
#ifndef TEST_FIXTURE_H
#define TEST_FIXTURE_H

#include <gst/check/gstharness.h>

#include "peer.h"

#define CAPS "video/x-raw,format=BGRx,width=64,height=48,framerate=30/1"
#define FRAME_BYTES (64 * 48 * 4)

typedef struct {
  gchar *directory, *path;
  Peer *peer;
  GstElement *element;
  GstHarness *harness;
  GstBus *bus;
} Fixture;

/* A relay with `faults` at the fixture's socket, in place of one that was killed. */
void fixture_peer(Fixture *f, guint faults);
/* `settings` are properties in gst-launch's words. A harness says that it is live, so that
 * drop=auto would drop. */
void fixture_element(Fixture *f, const gchar *settings);
/* The element in a harness, with caps. */
void fixture_harness(Fixture *f, const gchar *settings);
/* Around each test; afterwards no handle may be open, and the guest may not have broken the
 * protocol. */
void fixture_setup(Fixture *f, gconstpointer data);
void fixture_teardown(Fixture *f, gconstpointer data);
/* Frame `number` in ordinary memory. */
GstBuffer *fixture_frame(guint number);
/* Pushes `n` frames, each of which has to be taken. */
void fixture_push(Fixture *f, guint first, guint n);
/* Pulls `n` buffers and checks their times. */
void fixture_pull(Fixture *f, guint first, guint n);
/* A number of the property `stats`. */
guint64 fixture_stat(Fixture *f, const gchar *field);
/* NULL: none came in time. */
GstMessage *fixture_wait_message(Fixture *f, GstMessageType type, guint seconds);
gchar *fixture_error_text(GstMessage *message);
/* How many warnings with `text` in them are waiting; they are taken from the bus. */
guint fixture_count_warnings(Fixture *f, const gchar *text);
/* Waits until the property `source` is `nick` while frames are pushed and pulled, from `first` on;
 * returns the number of the next frame. */
guint fixture_push_until_source(Fixture *f, const gchar *nick, guint first);
gchar *fixture_source(Fixture *f);

/* What the process has open. */
guint fixture_descriptors(void);
/*
 * Its threads, once there are no more than `most` (0: now) or 20 s have passed: one that has been
 * joined is listed for a moment longer, and GLib's pools end theirs late.
 */
guint fixture_threads(guint most);

/* Registers the element, with a virtio-gpu made of memfds, and runs the tests that `add` adds. */
int fixture_main(int argc, char **argv, void (*add)(void));

#define TEST(name, test) g_test_add(name, Fixture, NULL, fixture_setup, test, fixture_teardown)
/* The test gets the peer's fault as its data. */
#define FAULT(name, test, fault) \
  g_test_add(name, Fixture, GUINT_TO_POINTER(fault), fixture_setup, test, fixture_teardown)

#endif
