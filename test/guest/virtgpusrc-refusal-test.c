/* What virtgpusrc refuses, and what it says: before the pipeline plays, and with what to do. */
#include "screen.h"

typedef struct {
  const gchar *settings;
  void (*arrange)(void);
  GQuark (*domain)(void);
  gint code;
  const gchar *part;
} Refusal;

static void arrange_nothing(void) {}

static void arrange_planes(void) {
  fake_kms_set(planes, 2);
}

static void arrange_denied(void) {
  fake_kms_set(denied, TRUE);
}

static void arrange_opaque(void) {
  fake_kms_set(opaque, TRUE);
}

static void arrange_format(void) {
  const FakeFramebuffer other = {.width = WIDTH, .height = HEIGHT, .fourcc = NV12, .pitch = PITCH};
  screen_show(fake_kms_create(&other, 0), 42);
}

static const Refusal refusals[] = {
    {"device=refused", arrange_nothing, gst_resource_error_quark, GST_RESOURCE_ERROR_NOT_AUTHORIZED,
     "CAP_SYS_ADMIN"},
    {"device=missing", arrange_nothing, gst_resource_error_quark, GST_RESOURCE_ERROR_NOT_FOUND,
     "missing is no card of the driver virtio_gpu"},
    {"connector=HDMI-A-1", arrange_nothing, gst_resource_error_quark, GST_RESOURCE_ERROR_NOT_FOUND,
     "no connector HDMI-A-1, but: Virtual-1"},
    {"", arrange_denied, gst_resource_error_quark, GST_RESOURCE_ERROR_NOT_AUTHORIZED,
     "setcap cap_sys_admin+ep"},
    {"cursor=true", arrange_opaque, gst_resource_error_quark, GST_RESOURCE_ERROR_SETTINGS,
     "cursor=false"},
    {"", arrange_planes, gst_stream_error_quark, GST_STREAM_ERROR_FORMAT, "2 planes"},
    {"", arrange_format, gst_stream_error_quark, GST_STREAM_ERROR_FORMAT, "NV12"},
};

/* Each says what to do, before the pipeline plays. */
static void test_refusal(Screen *f, gconstpointer data) {
  const Refusal *refusal = data;
  screen_show(fake_kms_create(&plain, 0), 42);
  refusal->arrange();
  screen_make(f, refusal->settings, "identity");
  g_assert_cmpint(gst_element_set_state(f->pipeline, GST_STATE_PAUSED), ==,
                  GST_STATE_CHANGE_FAILURE);
  screen_assert_error(f, refusal->domain(), refusal->code, refusal->part);
}

/* A compositor's frames on 3D buffers can be encoded by the host, but not be read by the CPU. */
static void test_opaque_caps(Screen *f, gconstpointer data) {
  screen_show(fake_kms_create(&plain, 0), 42);
  arrange_opaque();
  g_autoptr(GAsyncQueue) queue = screen_play(f, "", SYSTEM);
  GstMessage *message = screen_wait_message(f, GST_MESSAGE_ERROR);
  gst_message_unref(message);
  g_assert_cmpint(g_async_queue_length(queue), ==, 0);
}

/* A compositor that describes more than its buffer has must not make anybody read beyond it. */
static void test_too_large(Screen *f, gconstpointer data) {
  fake_kms_flip(fake_kms_create(&plain, 0), 42, 0, 1, WIDTH, HEIGHT);
  g_autoptr(GAsyncQueue) queue = screen_play(f, "", DMABUF);
  screen_assert_error(f, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_READ, "smaller than what it shows");
}

static void add(void) {
  for (guint i = 0; i < G_N_ELEMENTS(refusals); i++) {
    g_autofree gchar *name = g_strdup_printf("/virtgpusrc/refusal/%u", i);
    TEST(name, test_refusal, &refusals[i]);
  }
  TEST("/virtgpusrc/refusal/opaque", test_opaque_caps, NULL);
  TEST("/virtgpusrc/refusal/too-large", test_too_large, NULL);
}

int main(int argc, char **argv) {
  return screen_main(argc, argv, add);
}
