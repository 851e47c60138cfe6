/*
 * The element in GstHarness with a real relay and a real encoder behind it.
 *
 * VSOCKENC_RELAY_SOCKET names a UNIX listener of the relay, and VSOCKENC_RELAY_MEMORY the socket
 * from which relay-gpu.h has its resources; without the latter the machine has no virtio-gpu, and
 * pixels go over the socket. With neither it runs in a guest: its port, its virtio-gpu.
 *
 * What comes out of the encoder is left in the folder VSOCKENC_TEST_OUTPUT for somebody who can
 * decode it.
 */
#include <gst/allocators/allocators.h>
#include <gst/video/video.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "fake-gpu.h"
#include "fixture.h"
#include "gstvsockenc.h"
#include "pattern.h"
#include "relay-gpu.h"

#define WIDTH 640
#define HEIGHT 480
#define PICTURE_CAPS "video/x-raw,format=BGRx,width=640,height=480,framerate=30/1"
#define SMALL_CAPS "video/x-raw,format=BGRx,width=64,height=48,framerate=30/1"
#define PICTURE_BYTES ((gsize)WIDTH * HEIGHT * 4)
#define FRAMES 10

static const VencGpuOps *gpu_ops;
static Pattern *pattern;

/* Whether the host reads the pixels in place here. */
static gboolean has_resources(void) {
  return gpu_ops != &no_gpu;
}

static void setup(Fixture *f, gconstpointer data) {
  (void)data;
  f->path = g_strdup(g_getenv("VSOCKENC_RELAY_SOCKET"));
}

static void make_element(Fixture *f, const gchar *settings) {
  g_autofree gchar *place = f->path ? g_strdup_printf("socket-path=%s", f->path) : g_strdup("");
  g_autofree gchar *text =
      g_strdup_printf("vsockenc name=encoder drop=never %s %s", place, settings ? settings : "");
  g_autoptr(GError) error = NULL;
  f->element = gst_parse_launch(text, &error);
  g_assert_no_error(error);
  f->bus = gst_bus_new();
  gst_element_set_bus(f->element, f->bus);
}

/* The element between a source with `caps` and a sink that takes `wanted` (NULL: anything). */
static void make_harness(Fixture *f, const gchar *settings, const gchar *caps,
                         const gchar *wanted) {
  make_element(f, settings);
  f->harness = gst_harness_new_with_element(f->element, "sink", "src");
  if (wanted) gst_harness_set_sink_caps_str(f->harness, wanted);
  gst_harness_set_src_caps_str(f->harness, caps);
}

static void assert_no_error(Fixture *f) {
  g_autoptr(GstMessage) message = gst_bus_pop_filtered(f->bus, GST_MESSAGE_ERROR);
  g_autofree gchar *text = message ? fixture_error_text(message) : NULL;
  g_assert_cmpstr(text, ==, NULL);
}

static void teardown(Fixture *f, gconstpointer data) {
  (void)data;
  assert_no_error(f);
  if (f->harness) gst_harness_teardown(f->harness);
  gst_element_set_state(f->element, GST_STATE_NULL);
  gst_element_set_bus(f->element, NULL);
  gst_object_unref(f->element);
  gst_bus_set_flushing(f->bus, TRUE);
  gst_object_unref(f->bus);
  if (gpu_ops == &relay_gpu) relay_gpu_reset();
  g_free(f->path);
}

/* Draws frame `number` of the pattern and gives it its times. */
static GstBuffer *draw(GstBuffer *buffer, guint number) {
  GstMapInfo map;
  g_assert_true(gst_buffer_map(buffer, &map, GST_MAP_WRITE));
  g_assert_cmpuint(map.size, >=, PICTURE_BYTES);
  pattern_draw(pattern, map.data, WIDTH * 4, number, -1);
  gst_buffer_unmap(buffer, &map);
  GST_BUFFER_PTS(buffer) = number * GST_SECOND / 30;
  GST_BUFFER_DURATION(buffer) = GST_SECOND / 30;
  return buffer;
}

/* Frame `number` in a buffer of the pool that the element has proposed. */
static GstBuffer *pool_frame(Fixture *f, guint number) {
  return draw(gst_harness_create_buffer(f->harness, PICTURE_BYTES), number);
}

static void push(Fixture *f, GstBuffer *buffer) {
  g_assert_cmpint(gst_harness_push(f->harness, buffer), ==, GST_FLOW_OK);
}

static void push_pool_frames(Fixture *f, guint first, guint n) {
  for (guint i = first; i < first + n; i++) push(f, pool_frame(f, i));
}

static void end(Fixture *f) {
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_eos()));
}

/* Pulls `n` units that are there already, the first a key frame, and leaves them in `name`. */
static void keep(Fixture *f, guint n, const gchar *name) {
  const gchar *folder = g_getenv("VSOCKENC_TEST_OUTPUT");
  g_autofree gchar *path = folder ? g_build_filename(folder, name, NULL) : NULL;
  FILE *file = path ? fopen(path, "w") : NULL;
  g_assert_cmpuint(gst_harness_buffers_in_queue(f->harness), ==, n);
  for (guint i = 0; i < n; i++) {
    g_autoptr(GstBuffer) buffer = gst_harness_pull(f->harness);
    GstMapInfo map;
    g_assert_cmpuint(GST_BUFFER_PTS(buffer), ==, i * GST_SECOND / 30);
    if (i == 0) g_assert_false(GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT));
    g_assert_true(gst_buffer_map(buffer, &map, GST_MAP_READ));
    if (file) g_assert_cmpuint(fwrite(map.data, 1, map.size, file), ==, map.size);
    gst_buffer_unmap(buffer, &map);
  }
  if (file) fclose(file);
}

static void assert_source(Fixture *f, const gchar *with_resources) {
  g_autofree gchar *source = fixture_source(f);
  g_assert_cmpstr(source, ==, has_resources() ? with_resources : "inline");
}

static GstStructure *output_caps(Fixture *f, GstCaps **caps) {
  *caps = gst_pad_get_current_caps(f->harness->sinkpad);
  g_assert_nonnull(*caps);
  return gst_caps_get_structure(*caps, 0);
}

/* `data` is the codec's media type without "video/x-". */
static void test_encode(Fixture *f, gconstpointer data) {
  const gchar *codec = data;
  g_autofree gchar *media = g_strdup_printf("video/x-%s", codec);
  g_autofree gchar *wanted = g_strdup_printf("%s,stream-format=byte-stream,alignment=au", media);
  g_autofree gchar *name = g_strdup_printf("encode.%s", codec);
  g_autoptr(GstCaps) caps = NULL;
  make_harness(f, "bitrate=8000", PICTURE_CAPS, wanted);
  push_pool_frames(f, 0, FRAMES);
  end(f);
  keep(f, FRAMES, name);
  assert_source(f, "resource");
  GstStructure *output = output_caps(f, &caps);
  g_assert_cmpstr(gst_structure_get_name(output), ==, media);
  g_assert_nonnull(gst_structure_get_string(output, "profile"));
  g_assert_nonnull(gst_structure_get_string(output, "level"));
}

static void test_system_memory(Fixture *f, gconstpointer data) {
  (void)data;
  make_harness(f, "bitrate=8000", PICTURE_CAPS, NULL);
  for (guint i = 0; i < FRAMES; i++)
    push(f, draw(gst_buffer_new_allocate(NULL, PICTURE_BYTES, NULL), i));
  end(f);
  keep(f, FRAMES, "system-memory.h264");
  assert_source(f, "resource-copy");
}

/* DmaBufs as another program of the machine would have made them, four in rotation. */
static void test_dmabuf(Fixture *f, gconstpointer data) {
  g_autoptr(GstAllocator) allocator = gst_dmabuf_allocator_new();
  GstMemory *ring[4];
  (void)data;
  make_harness(f, "bitrate=8000",
               "video/x-raw(memory:DMABuf),format=BGRx,width=640,height=480,framerate=30/1", NULL);
  if (!has_resources()) {
    g_test_skip("there is no virtio-gpu");
    return;
  }
  g_autoptr(VencGpu) gpu = venc_gpu_new(gpu_ops, NULL);
  for (guint i = 0; i < G_N_ELEMENTS(ring); i++) {
    int fd = venc_gpu_create_dmabuf(gpu, PICTURE_BYTES, NULL);
    g_assert_cmpint(fd, >=, 0);
    ring[i] = gst_dmabuf_allocator_alloc(allocator, fd, PICTURE_BYTES);
  }
  for (guint i = 0; i < FRAMES; i++) {
    GstBuffer *buffer = gst_buffer_new();
    gst_buffer_append_memory(buffer, gst_memory_ref(ring[i % G_N_ELEMENTS(ring)]));
    push(f, draw(buffer, i));
    /* Before the memory comes round again the host has read it. */
    while (gst_harness_buffers_received(f->harness) <= i) g_usleep(1000);
  }
  end(f);
  keep(f, FRAMES, "dmabuf.h264");
  assert_source(f, "resource");
  g_assert_cmpuint(fixture_stat(f, "attaches"), ==, G_N_ELEMENTS(ring));
  g_assert_cmpuint(fixture_stat(f, "frames-copied"), ==, 0);
  for (guint i = 0; i < G_N_ELEMENTS(ring); i++) gst_memory_unref(ring[i]);
}

/* `data`: caps that carry parameter sets in codec_data, and units that begin with their length. */
static void test_codec_data(Fixture *f, gconstpointer data) {
  g_autoptr(GstCaps) caps = NULL;
  make_harness(f, NULL, PICTURE_CAPS, data);
  push_pool_frames(f, 0, 3);
  end(f);
  GstStructure *output = output_caps(f, &caps);
  g_assert_true(gst_structure_has_field_typed(output, "codec_data", GST_TYPE_BUFFER));
  for (guint i = 0; i < 3; i++) {
    g_autoptr(GstBuffer) buffer = gst_harness_pull(f->harness);
    GstMapInfo map;
    gsize at = 0;
    g_assert_true(gst_buffer_map(buffer, &map, GST_MAP_READ));
    while (at + 4 <= map.size) at += 4 + GST_READ_UINT32_BE(map.data + at);
    g_assert_cmpuint(at, ==, map.size);
    gst_buffer_unmap(buffer, &map);
  }
}

/* A stream from its start to the element's return to `state`. */
static void run_stream(Fixture *f, GstState state) {
  gst_element_set_state(f->element, GST_STATE_PLAYING);
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_stream_start("test")));
  gst_harness_set_src_caps_str(f->harness, SMALL_CAPS);
  fixture_push(f, 0, 3);
  end(f);
  fixture_pull(f, 0, 3);
  assert_no_error(f);
  gst_element_set_state(f->element, state);
}

static void test_reuse(Fixture *f, gconstpointer data) {
  (void)data;
  make_element(f, NULL);
  f->harness = gst_harness_new_with_element(f->element, "sink", "src");
  for (guint i = 0; i < 10; i++) run_stream(f, i % 2 ? GST_STATE_NULL : GST_STATE_READY);
}

static void test_eos_before_data(Fixture *f, gconstpointer data) {
  (void)data;
  make_harness(f, NULL, SMALL_CAPS, NULL);
  end(f);
  g_assert_cmpuint(gst_harness_buffers_received(f->harness), ==, 0);
}

/* Noise, which takes as many bits as the encoder is allowed. */
static GstBuffer *noise_frame(guint number) {
  GstBuffer *buffer = gst_buffer_new_allocate(NULL, PICTURE_BYTES, NULL);
  GRand *random = g_rand_new_with_seed(number + 1);
  GstMapInfo map;
  gst_buffer_map(buffer, &map, GST_MAP_WRITE);
  for (gsize i = 0; i + 4 <= map.size; i += 4) {
    guint32 pixel = g_rand_int(random);
    memcpy(map.data + i, &pixel, sizeof pixel);
  }
  gst_buffer_unmap(buffer, &map);
  g_rand_free(random);
  GST_BUFFER_PTS(buffer) = number * GST_SECOND / 30;
  GST_BUFFER_DURATION(buffer) = GST_SECOND / 30;
  return buffer;
}

typedef struct {
  gsize bytes;
  guint keys;
} Measured;

/* What becomes of `n` frames of noise. */
static Measured measure(Fixture *f, guint first, guint n) {
  Measured result = {0};
  for (guint i = first; i < first + n; i++) {
    push(f, noise_frame(i));
    g_autoptr(GstBuffer) buffer = gst_harness_pull(f->harness);
    g_assert_nonnull(buffer);
    result.bytes += gst_buffer_get_size(buffer);
    if (!GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT)) result.keys++;
  }
  return result;
}

/* The encoder has some frames to find its way; those after them show the new rate. */
static void test_live_bitrate(Fixture *f, gconstpointer data) {
  (void)data;
  make_harness(f, "bitrate=500 keyframe-interval=1000", PICTURE_CAPS, NULL);
  measure(f, 0, 20);
  Measured before = measure(f, 20, 20);
  g_object_set(f->element, "bitrate", 8000, NULL);
  measure(f, 40, 20);
  Measured after = measure(f, 60, 20);
  g_test_message("%zu bytes, then %zu", before.bytes, after.bytes);
  g_assert_cmpuint(after.bytes, >, 2 * before.bytes);
  assert_no_error(f);
}

static void test_live_interval(Fixture *f, gconstpointer data) {
  (void)data;
  make_harness(f, "keyframe-interval=1000", PICTURE_CAPS, NULL);
  g_assert_cmpuint(measure(f, 0, 20).keys, ==, 1);
  g_object_set(f->element, "keyframe-interval", 5, NULL);
  g_assert_cmpuint(measure(f, 20, 20).keys, >=, 3);
  assert_no_error(f);
}

static void test_live_rate_control(Fixture *f, gconstpointer data) {
  const gchar *modes[] = {"cbr", "vbr", "cbr"};
  (void)data;
  make_harness(f, "bitrate=1000 rate-control=vbr", PICTURE_CAPS, NULL);
  for (guint i = 0; i < G_N_ELEMENTS(modes); i++) {
    gst_util_set_object_arg(G_OBJECT(f->element), "rate-control", modes[i]);
    measure(f, 5 * i, 5);
  }
  assert_no_error(f);
  g_assert_cmpuint(fixture_stat(f, "sessions"), ==, 1);
}

/* A second stream of another size, format and memory, within the first. */
static void test_format_change(Fixture *f, gconstpointer data) {
  g_autoptr(GstCaps) caps = NULL;
  gint width = 0, height = 0;
  (void)data;
  make_harness(f, NULL, PICTURE_CAPS, NULL);
  push_pool_frames(f, 0, FRAMES);
  gst_harness_set_src_caps_str(f->harness,
                               "video/x-raw,format=NV12,width=320,height=240,framerate=30/1");
  for (guint i = FRAMES; i < 2 * FRAMES; i++) {
    GstBuffer *buffer = gst_harness_create_buffer(f->harness, 320 * 240 * 3 / 2);
    gst_buffer_memset(buffer, 0, 128, (gsize)-1);
    GST_BUFFER_PTS(buffer) = i * GST_SECOND / 30;
    push(f, buffer);
  }
  end(f);
  keep(f, 2 * FRAMES, "format-change.h264");
  assert_source(f, "resource");
  GstStructure *output = output_caps(f, &caps);
  g_assert_true(
      gst_structure_get(output, "width", G_TYPE_INT, &width, "height", G_TYPE_INT, &height, NULL));
  g_assert_cmpint(width, ==, 320);
  g_assert_cmpint(height, ==, 240);
}

static void test_force_key_unit(Fixture *f, gconstpointer data) {
  (void)data;
  make_harness(f, "keyframe-interval=1000", SMALL_CAPS, NULL);
  fixture_push(f, 0, 3);
  gst_harness_push_upstream_event(
      f->harness, gst_video_event_new_upstream_force_key_unit(GST_CLOCK_TIME_NONE, TRUE, 1));
  fixture_push(f, 3, 2);
  for (guint i = 0; i < 5; i++) {
    g_autoptr(GstBuffer) buffer = gst_harness_pull(f->harness);
    gboolean key = !GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT);
    g_assert_cmpint(key, ==, i == 0 || i == 3);
  }
}

static void test_flush(Fixture *f, gconstpointer data) {
  GstSegment segment;
  (void)data;
  make_harness(f, "keyframe-interval=1000", SMALL_CAPS, NULL);
  fixture_push(f, 0, 3);
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_flush_start()));
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_flush_stop(TRUE)));
  gst_segment_init(&segment, GST_FORMAT_TIME);
  g_assert_true(gst_harness_push_event(f->harness, gst_event_new_segment(&segment)));
  guint before = gst_harness_buffers_in_queue(f->harness);
  g_assert_cmpuint(before, <=, 3);
  while (before-- > 0) gst_buffer_unref(gst_harness_pull(f->harness));
  fixture_push(f, 100, 3);
  g_autoptr(GstBuffer) first = gst_harness_pull(f->harness);
  g_assert_cmpuint(GST_BUFFER_PTS(first), ==, 100 * GST_SECOND / 30);
  g_assert_false(GST_BUFFER_FLAG_IS_SET(first, GST_BUFFER_FLAG_DELTA_UNIT));
  fixture_pull(f, 101, 2);
}

static void test_latency(Fixture *f, gconstpointer data) {
  (void)data;
  make_harness(f, "max-in-flight=2", SMALL_CAPS, NULL);
  fixture_push(f, 0, 5);
  fixture_pull(f, 0, 5);
  /* No more frames than may be with the host. */
  g_assert_cmpuint(gst_harness_query_latency(f->harness), <=, 2 * GST_SECOND / 30);
}

/* Frames, settings and key units from threads of their own. */
static void test_stress(Fixture *f, gconstpointer data) {
  GstSegment segment;
  g_auto(GValue) bitrate = G_VALUE_INIT;
  g_autoptr(GstCaps) caps = gst_caps_from_string(SMALL_CAPS);
  (void)data;
  make_harness(f, NULL, SMALL_CAPS, NULL);
  gst_segment_init(&segment, GST_FORMAT_TIME);
  g_autoptr(GstBuffer) buffer = fixture_frame(0);
  g_value_init(&bitrate, G_TYPE_UINT);
  g_value_set_uint(&bitrate, 777);
  GstEvent *key_unit = gst_video_event_new_upstream_force_key_unit(GST_CLOCK_TIME_NONE, TRUE, 1);
  GstHarnessThread *threads[] = {
      gst_harness_stress_push_buffer_start(f->harness, caps, &segment, buffer),
      gst_harness_stress_property_start(f->harness, "bitrate", &bitrate),
      gst_harness_stress_send_upstream_event_start(f->harness, key_unit),
  };
  g_usleep(G_USEC_PER_SEC);
  for (guint i = G_N_ELEMENTS(threads); i > 0; i--) gst_harness_stress_thread_stop(threads[i - 1]);
  gst_event_unref(key_unit);
  end(f);
  g_assert_cmpuint(gst_harness_buffers_received(f->harness), >, 0);
  g_assert_cmpuint(gst_harness_buffers_received(f->harness), ==, fixture_stat(f, "frames-in"));
}

#define WARM_UP 20u
/* Of the heap, in bytes: twice what GLib's and malloc's own caches were seen to take. A leak of
 * less than 500 bytes a cycle is valgrind's to find. */
#define MOST_GROWTH (48u << 10)

/* What a process has; the heap is not counted where a sanitizer has its own. */
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

/* Harness and bus keep what nobody has asked for. */
static void forget(Fixture *f) {
  for (GstEvent *event; (event = gst_harness_try_pull_event(f->harness));) gst_event_unref(event);
  gst_bus_set_flushing(f->bus, TRUE);
  gst_bus_set_flushing(f->bus, FALSE);
}

static void test_one_instance(Fixture *f, gconstpointer data) {
  Usage warm;
  (void)data;
  make_element(f, NULL);
  f->harness = gst_harness_new_with_element(f->element, "sink", "src");
  for (guint i = 0; i <= WARM_UP + cycles(); i++) {
    if (i == WARM_UP) warm = usage(0);
    run_stream(f, GST_STATE_NULL);
    forget(f);
    if (gpu_ops == &relay_gpu) relay_gpu_reset();
  }
  assert_no_growth(&warm);
}

static void test_new_instances(Fixture *f, gconstpointer data) {
  Usage warm;
  (void)data;
  for (guint i = 0; i <= WARM_UP + cycles(); i++) {
    if (i == WARM_UP) warm = usage(0);
    Fixture one = {0};
    setup(&one, NULL);
    make_harness(&one, NULL, SMALL_CAPS, NULL);
    fixture_push(&one, 0, 3);
    end(&one);
    fixture_pull(&one, 0, 3);
    teardown(&one, NULL);
  }
  assert_no_growth(&warm);
  make_element(f, NULL); /* teardown has one to take down */
}

static void add(const gchar *name, void (*test)(Fixture *, gconstpointer), const gchar *data) {
  g_test_add(name, Fixture, data, setup, test, teardown);
}

int main(int argc, char **argv) {
  const gchar *memory = g_getenv("VSOCKENC_RELAY_MEMORY");
  gst_init(&argc, &argv);
  g_test_init(&argc, &argv, NULL);
  gpu_ops = memory ? &relay_gpu : g_getenv("VSOCKENC_RELAY_SOCKET") ? &no_gpu : &venc_gpu_kernel;
  if (memory) relay_gpu_connect(memory);
  pattern = pattern_new(WIDTH, HEIGHT, "BGRx");
  GstVsockEncClass *klass = g_type_class_ref(GST_TYPE_VSOCK_ENC);
  klass->gpu_ops = gpu_ops;
  gst_element_register(NULL, "vsockenc", GST_RANK_NONE, GST_TYPE_VSOCK_ENC);

  add("/relay/encode/h264", test_encode, "h264");
  add("/relay/encode/h265", test_encode, "h265");
  add("/relay/system-memory", test_system_memory, NULL);
  add("/relay/dmabuf", test_dmabuf, NULL);
  add("/relay/codec-data/avc", test_codec_data, "video/x-h264,stream-format=avc,alignment=au");
  add("/relay/codec-data/hvc1", test_codec_data, "video/x-h265,stream-format=hvc1,alignment=au");
  add("/relay/reuse", test_reuse, NULL);
  add("/relay/eos-before-data", test_eos_before_data, NULL);
  add("/relay/live/bitrate", test_live_bitrate, NULL);
  add("/relay/live/keyframe-interval", test_live_interval, NULL);
  add("/relay/live/rate-control", test_live_rate_control, NULL);
  add("/relay/format-change", test_format_change, NULL);
  add("/relay/force-key-unit", test_force_key_unit, NULL);
  add("/relay/flush", test_flush, NULL);
  add("/relay/latency", test_latency, NULL);
  add("/relay/stress", test_stress, NULL);
  add("/relay/cycles/one-instance", test_one_instance, NULL);
  add("/relay/cycles/new-instances", test_new_instances, NULL);

  int status = g_test_run();
  g_type_class_unref(klass);
  pattern_free(pattern);
  gst_deinit(); /* has GST_TRACERS=leaks report */
  return status;
}
