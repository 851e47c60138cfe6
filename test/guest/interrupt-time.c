/*
 * Measures how long a hung host delays an application that stops or flushes the element.
 *
 *     interrupt-time [RUNS]
 *
 * A thread in the element waits for the host: for the answer to a configuration, for room for
 * another frame, or for the last frames at EOS. Then the application stops the element
 * (PAUSED→READY) or flushes it (FLUSH_START); the time is that until both the application and the
 * thread have returned. Printed as JSON, in microseconds, one list for each pair.
 */
#include <stdio.h>
#include <stdlib.h>

#include "fake-gpu.h"
#include "fixture.h"
#include "gstvsockenc.h"

/* Time for the thread to begin its wait, which cannot be observed. */
#define SETTLE_US 50000

typedef struct {
  const gchar *name;
  guint faults; /* of the host, from before the caps on, */
  guint later;  /* and from before the first frame on */
  gpointer (*wait)(gpointer fixture);
} Situation;

static gpointer push_caps(gpointer data) {
  Fixture *f = data;
  gst_harness_push_event(f->harness, gst_event_new_caps(gst_caps_from_string(CAPS)));
  return NULL;
}

static gpointer push_end(gpointer data) {
  Fixture *f = data;
  gst_harness_push(f->harness, fixture_frame(0));
  gst_harness_push_event(f->harness, gst_event_new_eos());
  return NULL;
}

static const Situation SITUATIONS[] = {
    {"configuring", PEER_NO_CONFIGURED, 0, push_caps},
    {"encoding", 0, PEER_NO_ANSWERS, fixture_push_forever},
    {"draining", 0, PEER_NO_ANSWERS, push_end},
    {"silent", 0, PEER_DEAF, fixture_push_forever},
};

static const gchar *const ACTIONS[] = {"stop", "flush"};

static gint64 measure(const Situation *situation, guint action) {
  Fixture f = {0};
  fixture_setup(&f, NULL);
  peer_set(f.peer, faults, situation->faults);
  fixture_open(&f, NULL, NULL);
  if (situation->later) gst_harness_set_src_caps_str(f.harness, CAPS);
  peer_set(f.peer, faults, situation->faults | situation->later);
  GThread *waiting = g_thread_new("waiting", situation->wait, &f);
  g_usleep(SETTLE_US);
  gint64 begin = g_get_monotonic_time();
  if (action == 0)
    gst_element_set_state(f.element, GST_STATE_READY);
  else
    gst_harness_push_event(f.harness, gst_event_new_flush_start());
  g_thread_join(waiting);
  gint64 time = g_get_monotonic_time() - begin;
  fixture_teardown(&f, NULL);
  return time;
}

int main(int argc, char **argv) {
  gint runs = argc > 1 ? atoi(argv[1]) : 50;
  gst_init(NULL, NULL);
  GstVsockEncClass *klass = g_type_class_ref(GST_TYPE_VSOCK_ENC);
  klass->gpu_ops = &fake_gpu;
  gst_element_register(NULL, "vsockenc", GST_RANK_NONE, GST_TYPE_VSOCK_ENC);
  printf("{");
  for (guint i = 0; i < G_N_ELEMENTS(SITUATIONS) * G_N_ELEMENTS(ACTIONS); i++) {
    const Situation *situation = &SITUATIONS[i / G_N_ELEMENTS(ACTIONS)];
    guint action = i % G_N_ELEMENTS(ACTIONS);
    printf("%s\"%s %s\":[", i > 0 ? "," : "", situation->name, ACTIONS[action]);
    for (gint run = 0; run < runs; run++)
      printf("%s%" G_GINT64_FORMAT, run > 0 ? "," : "", measure(situation, action));
    printf("]");
  }
  printf("}\n");
  g_type_class_unref(klass);
  return 0;
}
