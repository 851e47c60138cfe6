/* Leaks of descriptors, threads and memory over many streams. */
#include <malloc.h>
#include <stdlib.h>

#include "fake-gpu.h"
#include "relay-fixture.h"

#define WARM_UP 20u
/* Of the heap, in bytes: twice the growth of GLib's and malloc's caches. Valgrind finds leaks of
 * less than 500 bytes a cycle. */
#define MOST_GROWTH (48u << 10)

/* The heap is not counted where a sanitizer replaces it. */
typedef struct {
  guint descriptors, threads;
  gsize heap;
} Usage;

static Usage usage(guint most_threads) {
  Usage now = {fixture_descriptors(), fixture_threads(most_threads), 0};
#if !defined(__SANITIZE_ADDRESS__)
  now.heap = mallinfo2().uordblks;
#endif
  return now;
}

static guint cycles(void) {
  const gchar *text = g_getenv("VSOCKENC_TEST_CYCLES");
  return text ? (guint)atoi(text) : 100;
}

static void assert_no_growth(const Usage *warm) {
  Usage now = usage(warm->threads);
  g_test_message("heap %zu, then %zu", warm->heap, now.heap);
  g_assert_cmpuint(now.descriptors, <=, warm->descriptors);
  g_assert_cmpuint(now.threads, <=, warm->threads);
  g_assert_cmpuint(now.heap, <=, warm->heap + MOST_GROWTH);
}

/* Removes pending events and messages from harness and bus. */
static void forget(Fixture *f) {
  for (GstEvent *event; (event = gst_harness_try_pull_event(f->harness));) gst_event_unref(event);
  gst_bus_set_flushing(f->bus, TRUE);
  gst_bus_set_flushing(f->bus, FALSE);
}

static void test_one_instance(Fixture *f, gconstpointer data) {
  Usage warm;
  fixture_open(f, NULL, NULL);
  for (guint i = 0; i <= WARM_UP + cycles(); i++) {
    if (i == WARM_UP) warm = usage(0);
    fixture_run_stream(f, GST_STATE_NULL);
    forget(f);
    fake_gpu_reset();
  }
  assert_no_growth(&warm);
}

static void test_new_instances(Fixture *f, gconstpointer data) {
  Usage warm;
  for (guint i = 0; i <= WARM_UP + cycles(); i++) {
    if (i == WARM_UP) warm = usage(0);
    Fixture one = {0};
    relay_setup(&one, NULL);
    relay_make_harness(&one, NULL, CAPS, NULL);
    fixture_push(&one, 0, 3);
    fixture_push_eos(&one);
    fixture_pull(&one, 0, 3);
    relay_teardown(&one, NULL);
  }
  assert_no_growth(&warm);
}

void relay_add_cycles(void) {
  RELAY_TEST("/relay/cycles/one-instance", test_one_instance, NULL);
  RELAY_TEST("/relay/cycles/new-instances", test_new_instances, NULL);
}
