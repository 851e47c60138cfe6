/* The fixture of the element's tests: a scripted relay, the element, and the bus for its messages.
 */
#ifndef TEST_FIXTURE_H
#define TEST_FIXTURE_H

#include <gst/check/gstharness.h>

#include "peer.h"

#define CAPS "video/x-raw,format=BGRx,width=64,height=48,framerate=30/1"
#define FRAME_BYTES (64 * 48 * 4)
/* Only a test that hangs takes as long as this. */
#define HANG_SECONDS 120

typedef struct {
  gchar *directory, *path; /* path: the relay's socket; NULL: the guest's port */
  Peer *peer;
  GstElement *element;
  GstHarness *harness;
  GstBus *bus;
  GstCaps *output; /* keeps fixture_output()'s answer */
} Fixture;

/* Starts a relay with `faults` on the fixture's socket, after the previous one was killed. */
void fixture_peer(Fixture *f, guint faults);
/* Creates the element with `settings` in gst-launch syntax, or NULL. */
void fixture_element(Fixture *f, const gchar *settings);
/* The element in a harness whose sink takes `wanted` (NULL: anything); no caps from upstream yet.
 */
void fixture_open(Fixture *f, const gchar *settings, const gchar *wanted);
/* The element in a harness, with CAPS from upstream. */
void fixture_harness(Fixture *f, const gchar *settings);
void fixture_setup(Fixture *f, gconstpointer data);
/* Asserts that all handles are closed, and that the guest has not violated the protocol. */
void fixture_teardown(Fixture *f, gconstpointer data);

/* Frame `number` in system memory. */
GstBuffer *fixture_frame(guint number);
/* Noise, so that no two rows are equal and the encoder uses all the bits that it may. */
GstBuffer *fixture_noise(gsize size, guint number);
/* Frame `number` in the dma-buf `fd`, which the buffer then owns. */
GstBuffer *fixture_dmabuf(guint number, int fd, gsize size);
/* Sets the timestamps of frame `number`. */
GstBuffer *fixture_stamp(GstBuffer *buffer, guint number);
/* Pushes a buffer, which must be accepted. */
void fixture_push_buffer(Fixture *f, GstBuffer *buffer);
void fixture_push(Fixture *f, guint first, guint n);
/* Pulls `n` buffers and checks their timestamps. */
void fixture_pull(Fixture *f, guint first, guint n);
gboolean fixture_is_key(GstBuffer *buffer);
/* Pulls frame `number`, which must be a key frame. */
GstBuffer *fixture_pull_key(Fixture *f, guint number);
/* The output's caps, until the next call. */
const GstStructure *fixture_output(Fixture *f);
gint fixture_output_int(Fixture *f, const gchar *field);
/* Pushes `n` frames, then pulls their access units. */
void fixture_encode(Fixture *f, guint first, guint n);
void fixture_push_eos(Fixture *f);
void fixture_flush_stop(Fixture *f);
void fixture_flush(Fixture *f);
void fixture_force_key_unit(Fixture *f);
/* A stream from stream-start to EOS, after which the element goes to `state`. */
void fixture_run_stream(Fixture *f, GstState state);
/* A thread function that pushes frames until one is rejected. */
gpointer fixture_push_forever(gpointer fixture);

/* Fields of the property `stats`. */
guint64 fixture_stat(Fixture *f, const gchar *field);
const gchar *fixture_stat_text(Fixture *f, const gchar *field);
void fixture_wait_stat(Fixture *f, const gchar *field, guint64 least);
/* Waits for a message with both parts (NULL: any) in its text; an error must be the first one. */
void fixture_expect(Fixture *f, GstMessageType type, const gchar *first, const gchar *second);
void fixture_assert_no_error(Fixture *f);
/* Removes the pending warnings from the bus; returns the number of those that contain `text`. */
guint fixture_count_warnings(Fixture *f, const gchar *text);
void fixture_assert_source(Fixture *f, const gchar *nick);
/* Pushes and pulls frames, from `first` on, until the property `source` is `nick`. */
void fixture_push_until_source(Fixture *f, const gchar *nick, guint first);

/* Plays videotestsrc (num-buffers and caps: `frames`), the element, and a fakesink. */
GstElement *fixture_play(Fixture *f, const gchar *frames, const gchar *sink);
/* Waits for the pipeline's EOS; fails at an error. */
void fixture_wait_eos(GstElement *pipeline);

/* Of the process. The heap is 0 where a sanitizer replaces it. */
typedef struct {
  guint descriptors, threads;
  gsize heap;
} FixtureUsage;
/*
 * Now, or once there are no more than `most_threads` (0: any number) or 20 s have passed: a joined
 * thread is listed for a moment longer, and GLib's pools stop theirs late.
 */
FixtureUsage fixture_usage(guint most_threads);

/* Registers the element with the virtio-gpu of fake-gpu.h, and runs the tests that `add` adds. */
int fixture_main(int argc, char **argv, void (*add)(void));

#define TEST_WITH(name, test, data) \
  g_test_add(name, Fixture, data, fixture_setup, test, fixture_teardown)
#define TEST(name, test) TEST_WITH(name, test, NULL)
#define TEST_MAIN(add)                    \
  int main(int argc, char **argv) {       \
    return fixture_main(argc, argv, add); \
  }

#endif
