/* What the tests with a real relay have: the element, a harness around it, frames, and files for
 * what comes out. */
#ifndef TEST_RELAY_FIXTURE_H
#define TEST_RELAY_FIXTURE_H

#include "fixture.h"
#include "virtgpu.h"

#define WIDTH 640
#define HEIGHT 480
#define PICTURE_CAPS "video/x-raw,format=BGRx,width=640,height=480,framerate=30/1"
#define SMALL_CAPS "video/x-raw,format=BGRx,width=64,height=48,framerate=30/1"
#define PICTURE_BYTES ((gsize)WIDTH * HEIGHT * 4)
#define FRAMES 10

/* Ahead of the tests: chooses the machine's virtio-gpu by the environment (element-relay-test.c).
 */
void relay_begin(void);
void relay_end(void);
const VencGpuOps *relay_gpu_ops(void);
/* Whether the host reads the pixels in place here. */
gboolean relay_has_resources(void);

/* Around each test; afterwards there may be no error on the bus. */
void relay_setup(Fixture *f, gconstpointer data);
void relay_teardown(Fixture *f, gconstpointer data);
void relay_add(const gchar *name, void (*test)(Fixture *, gconstpointer), const gchar *data);

/* The element alone, with `settings` in gst-launch's words (NULL: none). */
void relay_make_element(Fixture *f, const gchar *settings);
/* The element between a source with `caps` and a sink that takes `wanted` (NULL: anything). */
void relay_make_harness(Fixture *f, const gchar *settings, const gchar *caps, const gchar *wanted);
void relay_assert_no_error(Fixture *f);

/* Draws frame `number` of the pattern and gives it its times. */
GstBuffer *relay_draw(GstBuffer *buffer, guint number);
void relay_push(Fixture *f, GstBuffer *buffer);
/* Pushes frames in buffers of the pool that the element has proposed. */
void relay_push_pool_frames(Fixture *f, guint first, guint n);
void relay_push_end(Fixture *f);
/* Pulls `n` units that are there already, the first a key frame, and leaves them in `name`. */
void relay_keep(Fixture *f, guint n, const gchar *name);
/* A stream from its start to the element's return to `state`. */
void relay_run_stream(Fixture *f, GstState state);

void relay_assert_source(Fixture *f, const gchar *with_resources);
GstStructure *relay_output_caps(Fixture *f, GstCaps **caps);

/* Settings, key units and flushes while frames come (relay-live.c). */
void relay_add_live_tests(void);
/* What many streams leave behind in the process (relay-cycles.c). */
void relay_add_cycles(void);

#endif
