/* The fixture of tests with a real relay: the element, its frames, and files for its output. */
#ifndef TEST_RELAY_FIXTURE_H
#define TEST_RELAY_FIXTURE_H

#include "fixture.h"
#include "virtgpu.h"

#define WIDTH 640
#define HEIGHT 480
#define PICTURE_CAPS "video/x-raw,format=BGRx,width=640,height=480,framerate=30/1"
#define PICTURE_BYTES ((gsize)WIDTH * HEIGHT * 4)
#define FRAMES 10

/* Before the tests: chooses the machine's virtio-gpu by the environment (element-relay-test.c). */
void relay_begin(void);
void relay_end(void);
const VencGpuOps *relay_gpu_ops(void);
/* Whether the host reads the pixels in place here. */
gboolean relay_has_resources(void);

void relay_setup(Fixture *f, gconstpointer data);
/* Asserts that there is no error on the bus, and what fixture_teardown() does. */
void relay_teardown(Fixture *f, gconstpointer data);
#define RELAY_TEST(name, test, data) \
  g_test_add(name, Fixture, data, relay_setup, test, relay_teardown)

/* The element between a source with `caps` and a sink that takes `wanted` (NULL: anything). */
void relay_make_harness(Fixture *f, const gchar *settings, const gchar *caps, const gchar *wanted);
/* Draws frame `number` of the pattern and sets its timestamps. */
GstBuffer *relay_draw(GstBuffer *buffer, guint number);
/* Pushes frames in buffers of the pool that the element has proposed. */
void relay_push_pool_frames(Fixture *f, guint first, guint n);
/* Pulls `n` access units that are queued, the first a key frame, and saves them in `name`. */
void relay_keep(Fixture *f, guint n, const gchar *name);
void relay_assert_source(Fixture *f, const gchar *with_resources);
GstStructure *relay_output_caps(Fixture *f, GstCaps **caps);

/* Settings, key units and flushes while frames are encoded (relay-live.c). */
void relay_add_live_tests(void);
/* Leaks of descriptors, threads and memory over many streams (relay-cycles.c). */
void relay_add_cycles(void);

#endif
