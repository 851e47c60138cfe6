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

#include "gstvsockenc.h"
#include "relay-fixture.h"

/* `data` is the codec's media type without "video/x-". */
static void test_encode(Fixture *f, gconstpointer data) {
  const gchar *codec = data;
  g_autofree gchar *media = g_strdup_printf("video/x-%s", codec);
  g_autofree gchar *wanted = g_strdup_printf("%s,stream-format=byte-stream,alignment=au", media);
  g_autofree gchar *name = g_strdup_printf("encode.%s", codec);
  g_autoptr(GstCaps) caps = NULL;
  relay_make_harness(f, "bitrate=8000", PICTURE_CAPS, wanted);
  relay_push_pool_frames(f, 0, FRAMES);
  fixture_push_eos(f);
  relay_keep(f, FRAMES, name);
  relay_assert_source(f, "resource");
  GstStructure *output = relay_output_caps(f, &caps);
  g_assert_cmpstr(gst_structure_get_name(output), ==, media);
  g_assert_nonnull(gst_structure_get_string(output, "profile"));
  g_assert_nonnull(gst_structure_get_string(output, "level"));
}

static void test_system_memory(Fixture *f, gconstpointer data) {
  relay_make_harness(f, "bitrate=8000", PICTURE_CAPS, NULL);
  for (guint i = 0; i < FRAMES; i++)
    fixture_push_buffer(f, relay_draw(gst_buffer_new_allocate(NULL, PICTURE_BYTES, NULL), i));
  fixture_push_eos(f);
  relay_keep(f, FRAMES, "system-memory.h264");
  relay_assert_source(f, "resource-copy");
}

/* DmaBufs as made by another program, four in rotation. */
static void test_dmabuf(Fixture *f, gconstpointer data) {
  g_autoptr(GstAllocator) allocator = gst_dmabuf_allocator_new();
  GstMemory *ring[4];
  relay_make_harness(f, "bitrate=8000",
                     "video/x-raw(memory:DMABuf),format=BGRx,width=640,height=480,framerate=30/1",
                     NULL);
  if (!relay_has_resources()) {
    g_test_skip("there is no virtio-gpu");
    return;
  }
  g_autoptr(VencGpu) gpu = venc_gpu_new(relay_gpu_ops(), NULL);
  for (guint i = 0; i < G_N_ELEMENTS(ring); i++) {
    int fd = venc_gpu_create_dmabuf(gpu, PICTURE_BYTES, NULL);
    g_assert_cmpint(fd, >=, 0);
    ring[i] = gst_dmabuf_allocator_alloc(allocator, fd, PICTURE_BYTES);
  }
  for (guint i = 0; i < FRAMES; i++) {
    GstBuffer *buffer = gst_buffer_new();
    gst_buffer_append_memory(buffer, gst_memory_ref(ring[i % G_N_ELEMENTS(ring)]));
    fixture_push_buffer(f, relay_draw(buffer, i));
    /* The host has read the memory before it is drawn into again. */
    while (gst_harness_buffers_received(f->harness) <= i) g_usleep(1000);
  }
  fixture_push_eos(f);
  relay_keep(f, FRAMES, "dmabuf.h264");
  relay_assert_source(f, "resource");
  g_assert_cmpuint(fixture_stat(f, "attaches"), ==, G_N_ELEMENTS(ring));
  g_assert_cmpuint(fixture_stat(f, "frames-copied"), ==, 0);
  for (guint i = 0; i < G_N_ELEMENTS(ring); i++) gst_memory_unref(ring[i]);
}

/* `data`: caps with parameter sets in codec_data and length-prefixed NAL units. */
static void test_codec_data(Fixture *f, gconstpointer data) {
  g_autoptr(GstCaps) caps = NULL;
  relay_make_harness(f, NULL, PICTURE_CAPS, data);
  relay_push_pool_frames(f, 0, 3);
  fixture_push_eos(f);
  GstStructure *output = relay_output_caps(f, &caps);
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

static void test_reuse(Fixture *f, gconstpointer data) {
  fixture_open(f, NULL, NULL);
  for (guint i = 0; i < 10; i++) fixture_run_stream(f, i % 2 ? GST_STATE_NULL : GST_STATE_READY);
}

static void test_eos_before_data(Fixture *f, gconstpointer data) {
  relay_make_harness(f, NULL, CAPS, NULL);
  fixture_push_eos(f);
  g_assert_cmpuint(gst_harness_buffers_received(f->harness), ==, 0);
}

/* Another size, format and memory in mid-stream. */
static void test_format_change(Fixture *f, gconstpointer data) {
  g_autoptr(GstCaps) caps = NULL;
  gint width = 0, height = 0;
  relay_make_harness(f, NULL, PICTURE_CAPS, NULL);
  relay_push_pool_frames(f, 0, FRAMES);
  gst_harness_set_src_caps_str(f->harness,
                               "video/x-raw,format=NV12,width=320,height=240,framerate=30/1");
  for (guint i = FRAMES; i < 2 * FRAMES; i++) {
    GstBuffer *buffer = gst_harness_create_buffer(f->harness, 320 * 240 * 3 / 2);
    gst_buffer_memset(buffer, 0, 128, (gsize)-1);
    GST_BUFFER_PTS(buffer) = i * GST_SECOND / 30;
    fixture_push_buffer(f, buffer);
  }
  fixture_push_eos(f);
  relay_keep(f, 2 * FRAMES, "format-change.h264");
  relay_assert_source(f, "resource");
  GstStructure *output = relay_output_caps(f, &caps);
  g_assert_true(
      gst_structure_get(output, "width", G_TYPE_INT, &width, "height", G_TYPE_INT, &height, NULL));
  g_assert_cmpint(width, ==, 320);
  g_assert_cmpint(height, ==, 240);
}

int main(int argc, char **argv) {
  gst_init(&argc, &argv);
  g_test_init(&argc, &argv, NULL);
  relay_begin();
  GstVsockEncClass *klass = g_type_class_ref(GST_TYPE_VSOCK_ENC);
  klass->gpu_ops = relay_gpu_ops();
  gst_element_register(NULL, "vsockenc", GST_RANK_NONE, GST_TYPE_VSOCK_ENC);

  RELAY_TEST("/relay/encode/h264", test_encode, "h264");
  RELAY_TEST("/relay/encode/h265", test_encode, "h265");
  RELAY_TEST("/relay/system-memory", test_system_memory, NULL);
  RELAY_TEST("/relay/dmabuf", test_dmabuf, NULL);
  RELAY_TEST("/relay/codec-data/avc", test_codec_data,
             "video/x-h264,stream-format=avc,alignment=au");
  RELAY_TEST("/relay/codec-data/hvc1", test_codec_data,
             "video/x-h265,stream-format=hvc1,alignment=au");
  RELAY_TEST("/relay/reuse", test_reuse, NULL);
  RELAY_TEST("/relay/eos-before-data", test_eos_before_data, NULL);
  RELAY_TEST("/relay/format-change", test_format_change, NULL);
  relay_add_live_tests();
  relay_add_cycles();

  int status = g_test_run();
  g_type_class_unref(klass);
  relay_end();
  gst_deinit(); /* has GST_TRACERS=leaks report */
  return status;
}
