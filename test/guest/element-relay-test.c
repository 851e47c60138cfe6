/*
 * The element in GstHarness with a real relay and a real encoder behind it.
 *
 * VSOCKENC_RELAY_SOCKET names a UNIX listener of the relay, and VSOCKENC_RELAY_MEMORY the socket
 * that fake-gpu.h connects to; without the latter the machine has no virtio-gpu, and pixels are
 * sent over the socket. With neither it runs in a guest, with its port and its virtio-gpu.
 *
 * The output is saved in the folder VSOCKENC_TEST_OUTPUT, for a caller that can decode it.
 */
#include <gst/allocators/allocators.h>
#include <gst/video/video.h>
#include <stdio.h>
#include <stdlib.h>

#include "fake-gpu.h"
#include "fixture.h"
#include "gstvsockenc.h"
#include "pattern.h"

#define WIDTH 640
#define HEIGHT 480
#define PICTURE "format=BGRx,width=640,height=480,framerate=30/1"
#define PICTURE_CAPS "video/x-raw," PICTURE
#define PICTURE_BYTES ((gsize)WIDTH * HEIGHT * 4)
#define FRAMES 10

static const VencGpuOps *gpu_ops;
static Pattern *pattern;

static void setup(Fixture *f, gconstpointer data) {
  f->path = g_strdup(g_getenv("VSOCKENC_RELAY_SOCKET"));
}

static void teardown(Fixture *f, gconstpointer data) {
  if (f->bus) fixture_assert_no_error(f);
  fixture_teardown(f, data);
  fake_gpu_reset();
}

/* The element between a source with `caps` and a sink that takes `wanted` (NULL: anything). */
static void make_harness(Fixture *f, const gchar *settings, const gchar *caps,
                         const gchar *wanted) {
  fixture_open(f, settings, wanted);
  gst_harness_set_src_caps_str(f->harness, caps);
}

/* Draws frame `number` of the pattern. */
static GstBuffer *draw(GstBuffer *buffer, guint number) {
  GstMapInfo map;
  g_assert_true(gst_buffer_map(buffer, &map, GST_MAP_WRITE));
  g_assert_cmpuint(map.size, >=, PICTURE_BYTES);
  pattern_draw(pattern, map.data, WIDTH * 4, number, -1);
  gst_buffer_unmap(buffer, &map);
  return fixture_stamp(buffer, number);
}

/* Pushes frames in buffers of the pool that the element has proposed. */
static void push_pool_frames(Fixture *f, guint n) {
  for (guint i = 0; i < n; i++)
    fixture_push_buffer(f, draw(gst_harness_create_buffer(f->harness, PICTURE_BYTES), i));
}

/* Ends the stream. Its `n` access units, the first a key frame, are saved in `name`. */
static void finish(Fixture *f, guint n, const gchar *name) {
  const gchar *folder = g_getenv("VSOCKENC_TEST_OUTPUT");
  g_autofree gchar *path = folder ? g_build_filename(folder, name, NULL) : NULL;
  FILE *file = path ? fopen(path, "w") : NULL;
  fixture_push_eos(f);
  g_assert_cmpuint(gst_harness_buffers_in_queue(f->harness), ==, n);
  for (guint i = 0; i < n; i++) {
    g_autoptr(GstBuffer) buffer = gst_harness_pull(f->harness);
    GstMapInfo map;
    g_assert_cmpuint(GST_BUFFER_PTS(buffer), ==, i * GST_SECOND / 30);
    if (i == 0) g_assert_true(fixture_is_key(buffer));
    g_assert_true(gst_buffer_map(buffer, &map, GST_MAP_READ));
    if (file) g_assert_cmpuint(fwrite(map.data, 1, map.size, file), ==, map.size);
    gst_buffer_unmap(buffer, &map);
  }
  if (file) fclose(file);
}

static void assert_source(Fixture *f, const gchar *with_resources) {
  fixture_assert_source(f, gpu_ops == &no_gpu ? "inline" : with_resources);
}

/* `data` is the codec's media type without "video/x-". */
static void test_encode(Fixture *f, gconstpointer data) {
  const gchar *codec = data;
  g_autofree gchar *media = g_strdup_printf("video/x-%s", codec);
  g_autofree gchar *wanted = g_strdup_printf("%s,stream-format=byte-stream,alignment=au", media);
  g_autofree gchar *name = g_strdup_printf("encode.%s", codec);
  make_harness(f, "bitrate=8000", PICTURE_CAPS, wanted);
  push_pool_frames(f, FRAMES);
  finish(f, FRAMES, name);
  assert_source(f, "resource");
  const GstStructure *output = fixture_output(f);
  g_assert_cmpstr(gst_structure_get_name(output), ==, media);
  g_assert_nonnull(gst_structure_get_string(output, "profile"));
  g_assert_nonnull(gst_structure_get_string(output, "level"));
}

static void test_system_memory(Fixture *f, gconstpointer data) {
  make_harness(f, "bitrate=8000", PICTURE_CAPS, NULL);
  for (guint i = 0; i < FRAMES; i++)
    fixture_push_buffer(f, draw(gst_buffer_new_allocate(NULL, PICTURE_BYTES, NULL), i));
  finish(f, FRAMES, "system-memory.h264");
  assert_source(f, "resource-copy");
}

/* DmaBufs as made by another program, four in rotation. */
static void test_dmabuf(Fixture *f, gconstpointer data) {
  g_autoptr(GstAllocator) allocator = gst_dmabuf_allocator_new();
  GstMemory *ring[4];
  make_harness(f, "bitrate=8000", "video/x-raw(memory:DMABuf)," PICTURE, NULL);
  if (gpu_ops == &no_gpu) {
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
    fixture_push_buffer(f, draw(buffer, i));
    /* The host has read the memory before it is drawn into again. */
    while (gst_harness_buffers_received(f->harness) <= i) g_usleep(1000);
  }
  finish(f, FRAMES, "dmabuf.h264");
  assert_source(f, "resource");
  g_assert_cmpuint(fixture_stat(f, "attaches"), ==, G_N_ELEMENTS(ring));
  g_assert_cmpuint(fixture_stat(f, "frames-copied"), ==, 0);
  for (guint i = 0; i < G_N_ELEMENTS(ring); i++) gst_memory_unref(ring[i]);
}

/* `data`: caps with parameter sets in codec_data and length-prefixed NAL units. */
static void test_codec_data(Fixture *f, gconstpointer data) {
  make_harness(f, NULL, PICTURE_CAPS, data);
  push_pool_frames(f, 3);
  fixture_push_eos(f);
  g_assert_true(gst_structure_has_field_typed(fixture_output(f), "codec_data", GST_TYPE_BUFFER));
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

static void test_reuse(Fixture *f, gconstpointer data) {
  fixture_open(f, NULL, NULL);
  for (guint i = 0; i < 10; i++) fixture_run_stream(f, i % 2 ? GST_STATE_NULL : GST_STATE_READY);
}

static void test_eos_before_data(Fixture *f, gconstpointer data) {
  make_harness(f, NULL, CAPS, NULL);
  fixture_push_eos(f);
  g_assert_cmpuint(gst_harness_buffers_received(f->harness), ==, 0);
}

/* Another size, format and memory in mid-stream. */
static void test_format_change(Fixture *f, gconstpointer data) {
  make_harness(f, NULL, PICTURE_CAPS, NULL);
  push_pool_frames(f, FRAMES);
  gst_harness_set_src_caps_str(f->harness,
                               "video/x-raw,format=NV12,width=320,height=240,framerate=30/1");
  for (guint i = FRAMES; i < 2 * FRAMES; i++) {
    GstBuffer *buffer = gst_harness_create_buffer(f->harness, 320 * 240 * 3 / 2);
    gst_buffer_memset(buffer, 0, 128, (gsize)-1);
    fixture_push_buffer(f, fixture_stamp(buffer, i));
  }
  finish(f, 2 * FRAMES, "format-change.h264");
  assert_source(f, "resource");
  g_assert_cmpint(fixture_output_int(f, "width"), ==, 320);
  g_assert_cmpint(fixture_output_int(f, "height"), ==, 240);
}

typedef struct {
  gsize bytes;
  guint keys;
} Measured;

/* Encodes `n` frames of noise. */
static Measured measure(Fixture *f, guint first, guint n) {
  Measured result = {0};
  for (guint i = first; i < first + n; i++) {
    fixture_push_buffer(f, fixture_noise(PICTURE_BYTES, i));
    g_autoptr(GstBuffer) buffer = gst_harness_pull(f->harness);
    g_assert_nonnull(buffer);
    result.bytes += gst_buffer_get_size(buffer);
    if (fixture_is_key(buffer)) result.keys++;
  }
  return result;
}

/* The encoder needs some frames to adapt; the later ones show the new rate. */
static void test_live_bitrate(Fixture *f, gconstpointer data) {
  make_harness(f, "bitrate=500 keyframe-interval=1000", PICTURE_CAPS, NULL);
  measure(f, 0, 20);
  Measured before = measure(f, 20, 20);
  g_object_set(f->element, "bitrate", 8000, NULL);
  measure(f, 40, 20);
  Measured after = measure(f, 60, 20);
  g_test_message("%zu bytes, then %zu", before.bytes, after.bytes);
  g_assert_cmpuint(after.bytes, >, 2 * before.bytes);
  fixture_assert_no_error(f);
}

static void test_live_interval(Fixture *f, gconstpointer data) {
  make_harness(f, "keyframe-interval=1000", PICTURE_CAPS, NULL);
  g_assert_cmpuint(measure(f, 0, 20).keys, ==, 1);
  g_object_set(f->element, "keyframe-interval", 5, NULL);
  g_assert_cmpuint(measure(f, 20, 20).keys, >=, 3);
  fixture_assert_no_error(f);
}

static void test_live_rate_control(Fixture *f, gconstpointer data) {
  const gchar *modes[] = {"cbr", "vbr", "cbr"};
  make_harness(f, "bitrate=1000 rate-control=vbr", PICTURE_CAPS, NULL);
  for (guint i = 0; i < G_N_ELEMENTS(modes); i++) {
    gst_util_set_object_arg(G_OBJECT(f->element), "rate-control", modes[i]);
    measure(f, 5 * i, 5);
  }
  fixture_assert_no_error(f);
  g_assert_cmpuint(fixture_stat(f, "sessions"), ==, 1);
}

static void test_force_key_unit(Fixture *f, gconstpointer data) {
  make_harness(f, "keyframe-interval=1000", CAPS, NULL);
  fixture_push(f, 0, 3);
  fixture_force_key_unit(f);
  fixture_push(f, 3, 2);
  for (guint i = 0; i < 5; i++) {
    g_autoptr(GstBuffer) buffer = gst_harness_pull(f->harness);
    g_assert_cmpint(fixture_is_key(buffer), ==, i == 0 || i == 3);
  }
}

static void test_flush(Fixture *f, gconstpointer data) {
  make_harness(f, "keyframe-interval=1000", CAPS, NULL);
  fixture_push(f, 0, 3);
  fixture_flush(f);
  guint before = gst_harness_buffers_in_queue(f->harness);
  g_assert_cmpuint(before, <=, 3);
  while (before-- > 0) gst_buffer_unref(gst_harness_pull(f->harness));
  fixture_push(f, 100, 3);
  gst_buffer_unref(fixture_pull_key(f, 100));
  fixture_pull(f, 101, 2);
}

static void test_latency(Fixture *f, gconstpointer data) {
  make_harness(f, "max-in-flight=2", CAPS, NULL);
  fixture_encode(f, 0, 5);
  /* At most the frames that may be in flight. */
  g_assert_cmpuint(gst_harness_query_latency(f->harness), <=, 2 * GST_SECOND / 30);
}

/* Frames, settings and key units from separate threads. */
static void test_stress(Fixture *f, gconstpointer data) {
  GstSegment segment;
  g_auto(GValue) bitrate = G_VALUE_INIT;
  g_autoptr(GstCaps) caps = gst_caps_from_string(CAPS);
  make_harness(f, NULL, CAPS, NULL);
  gst_segment_init(&segment, GST_FORMAT_TIME);
  g_autoptr(GstBuffer) buffer = fixture_frame(0);
  g_value_init(&bitrate, G_TYPE_UINT);
  g_value_set_uint(&bitrate, 777);
  GstEvent *key_unit = gst_video_event_new_upstream_force_key_unit(GST_CLOCK_TIME_NONE, TRUE, 1);
  GstHarnessThread *threads[] = {
      gst_harness_stress_push_buffer_start(f->harness, caps, &segment, buffer),
      gst_harness_stress_property_start(f->harness, "bitrate", &bitrate),
      /* Not a flood: GstVideoEncoder keeps each event until a frame, and walks all of them. */
      gst_harness_stress_push_upstream_event_start_full(f->harness, key_unit, 1000),
  };
  while (gst_harness_buffers_received(f->harness) < 100) g_usleep(1000);
  for (guint i = G_N_ELEMENTS(threads); i > 0; i--) gst_harness_stress_thread_stop(threads[i - 1]);
  gst_event_unref(key_unit);
  fixture_push_eos(f);
  g_assert_cmpuint(gst_harness_buffers_received(f->harness), >, 0);
  g_assert_cmpuint(gst_harness_buffers_received(f->harness), ==, fixture_stat(f, "frames-in"));
}

#define WARM_UP 20u
/* Of the heap, in bytes: twice the growth of GLib's and malloc's caches. Valgrind finds leaks of
 * less than 500 bytes a cycle. */
#define MOST_GROWTH (48u << 10)

/* No leaks over many streams, of one instance of the element or of a new one for each. */
static void test_cycles(Fixture *f, gconstpointer is_new) {
  const gchar *text = g_getenv("VSOCKENC_TEST_CYCLES");
  guint cycles = text ? (guint)atoi(text) : 100;
  FixtureUsage warm = {0};
  if (!is_new) fixture_open(f, NULL, NULL);
  for (guint i = 0; i <= WARM_UP + cycles; i++) {
    if (i == WARM_UP) warm = fixture_usage(0);
    if (is_new) {
      Fixture one = {0};
      setup(&one, NULL);
      make_harness(&one, NULL, CAPS, NULL);
      fixture_push(&one, 0, 3);
      fixture_push_eos(&one);
      fixture_pull(&one, 0, 3);
      teardown(&one, NULL);
      continue;
    }
    fixture_run_stream(f, GST_STATE_NULL);
    /* Removes pending events and messages from harness and bus. */
    for (GstEvent *event; (event = gst_harness_try_pull_event(f->harness));) gst_event_unref(event);
    gst_bus_set_flushing(f->bus, TRUE);
    gst_bus_set_flushing(f->bus, FALSE);
    fake_gpu_reset();
  }
  FixtureUsage now = fixture_usage(warm.threads);
  g_test_message("heap %zu, then %zu", warm.heap, now.heap);
  g_assert_cmpuint(now.descriptors, <=, warm.descriptors);
  g_assert_cmpuint(now.threads, <=, warm.threads);
  g_assert_cmpuint(now.heap, <=, warm.heap + MOST_GROWTH);
}

#define TEST_RELAY(name, test, data) \
  g_test_add("/relay/" name, Fixture, data, setup, test, teardown)

static void add(void) {
  const gchar *memory = g_getenv("VSOCKENC_RELAY_MEMORY");
  GstVsockEncClass *klass = g_type_class_peek(GST_TYPE_VSOCK_ENC);
  gpu_ops = memory ? &fake_gpu : g_getenv("VSOCKENC_RELAY_SOCKET") ? &no_gpu : &venc_gpu_kernel;
  if (memory) fake_gpu_connect(memory);
  klass->gpu_ops = gpu_ops;
  pattern = pattern_new(WIDTH, HEIGHT, "BGRx");
  TEST_RELAY("encode/h264", test_encode, "h264");
  TEST_RELAY("encode/h265", test_encode, "h265");
  TEST_RELAY("system-memory", test_system_memory, NULL);
  TEST_RELAY("dmabuf", test_dmabuf, NULL);
  TEST_RELAY("codec-data/avc", test_codec_data, "video/x-h264,stream-format=avc,alignment=au");
  TEST_RELAY("codec-data/hvc1", test_codec_data, "video/x-h265,stream-format=hvc1,alignment=au");
  TEST_RELAY("reuse", test_reuse, NULL);
  TEST_RELAY("eos-before-data", test_eos_before_data, NULL);
  TEST_RELAY("format-change", test_format_change, NULL);
  TEST_RELAY("live/bitrate", test_live_bitrate, NULL);
  TEST_RELAY("live/keyframe-interval", test_live_interval, NULL);
  TEST_RELAY("live/rate-control", test_live_rate_control, NULL);
  TEST_RELAY("force-key-unit", test_force_key_unit, NULL);
  TEST_RELAY("flush", test_flush, NULL);
  TEST_RELAY("latency", test_latency, NULL);
  TEST_RELAY("stress", test_stress, NULL);
  TEST_RELAY("cycles/one-instance", test_cycles, GINT_TO_POINTER(FALSE));
  TEST_RELAY("cycles/new-instances", test_cycles, GINT_TO_POINTER(TRUE));
}

TEST_MAIN(add)
