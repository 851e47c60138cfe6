/* vsockenc-probe's function, against the scripted relay. */
#include "probe.h"

#include "fake-gpu.h"
#include "fixture.h"

#define HANG_MS (HANG_SECONDS * 1000)

/* What the GPU "drew": a dma-buf, with a checksum that the test sets. */
static guint32 drawn_crc;

static gboolean draw(const gchar *node, guint width, guint height, VencGlPicture *picture,
                     GError **error) {
  *picture = (VencGlPicture){
      .fd = fake_gpu_new_dmabuf((gsize)width * height * 4), .stride = width * 4, .crc = drawn_crc};
  return TRUE;
}

static void run(Fixture *f, const VencGpuOps *gpu, gboolean is_inline, guint timeout_ms,
                VencProbeReport *report) {
  const VencProbeOptions options = {.gpu_ops = gpu,
                                    .draw = draw,
                                    .address = {.socket_path = f->path},
                                    .is_inline = is_inline,
                                    .timeout_ms = timeout_ms};
  venc_probe_run(&options, report);
}

static void assert_json(const VencProbeReport *report, const gchar *part) {
  g_autofree gchar *json = venc_probe_report_to_json(report);
  g_test_message("%s", json);
  g_assert_nonnull(strstr(json, part));
}

/* The peer does not know the checksum of the picture, so it sends a wrong one. */
static void test_other_bytes(Fixture *f, gconstpointer data) {
  VencProbeReport report;
  peer_set(f->peer, probe_crc, 0x1234abcd);
  peer_set(f->peer, probe_bytes, 640 * 360 * 4);
  run(f, &fake_gpu, FALSE, HANG_MS, &report);
  g_assert_false(report.ok);
  g_assert_cmpuint(report.pages.resource, !=, 0);
  assert_json(&report, "\"ok\": false");
  assert_json(&report, "\"tier\": \"resource\", \"runs\": 3");
  assert_json(&report, "\"crc_host\": \"1234abcd\"");
  assert_json(&report, "\"encoders\": [\"peer\", \"peer-hevc\"]");
  assert_json(&report, "other pixels than were drawn");
  venc_probe_report_clear(&report);
}

static void test_inline(Fixture *f, gconstpointer data) {
  VencProbeReport report;
  run(f, &fake_gpu, TRUE, HANG_MS, &report);
  g_assert_no_error(report.error);
  g_assert_true(report.ok);
  g_assert_cmphex(report.pages.crc, ==, report.pages.host.crc);
  assert_json(&report, "\"tier\": \"inline\"");
  assert_json(&report, "\"error\": null, \"fix\": null}");
  venc_probe_report_clear(&report);
}

/*
 * On a GPU that renders a second buffer is drawn by it. The peer has one checksum for both, which
 * is that of the CPU's picture: the same seed draws the same one again.
 */
static void test_rendered(Fixture *f, gconstpointer wrong) {
  VencProbeReport report;
  peer_set(f->peer, faults, PEER_READ);
  peer_set(f->peer, probe_bytes, 640 * 360 * 4);
  for (guint i = 0; i < 2; i++) {
    g_random_set_seed(1);
    run(f, &fake_3d_gpu, FALSE, HANG_MS, &report);
    peer_set(f->peer, probe_crc, report.pages.crc);
    drawn_crc = report.pages.crc ^ GPOINTER_TO_UINT(wrong);
    if (i == 0) venc_probe_report_clear(&report);
  }
  g_assert_true(report.ok == !wrong);
  g_assert_cmpuint(peer_counts(f->peer).attach.content, ==, vsockenc_Content_RENDERED);
  g_assert_cmpuint(report.rendered.resource, !=, report.pages.resource);
  assert_json(&report, "\"rendered\": {\"resource\": ");
  assert_json(&report, wrong ? "of a buffer that the GPU drew: the host reads other pixels"
                             : "\"skipped\": null}");
  venc_probe_report_clear(&report);
}

/* Where the GPU cannot draw, the report says why; the rest of it holds. */
static void test_skipped(Fixture *f, gconstpointer data) {
  VencProbeReport report;
  const VencProbeOptions options = {.gpu_ops = data,
                                    .draw = venc_gl_draw,
                                    .address = {.socket_path = f->path},
                                    .timeout_ms = HANG_MS};
  peer_set(f->peer, probe_bytes, 640 * 360 * 4);
  for (guint i = 0; i < 2; i++) {
    g_random_set_seed(1);
    venc_probe_run(&options, &report);
    peer_set(f->peer, probe_crc, report.pages.crc);
    if (i == 0) venc_probe_report_clear(&report);
  }
  g_assert_true(report.ok);
  assert_json(&report, data == &fake_gpu ? "\"skipped\": \"this virtio-gpu does not render"
                                         : "\"skipped\": \"this guest has no OpenGL: ");
  venc_probe_report_clear(&report);
}

/* `data`: the peer's fault; each ends the probe with an error and a remedy. */
static void test_refused(Fixture *f, gconstpointer data) {
  VencProbeReport report;
  peer_set(f->peer, faults, GPOINTER_TO_UINT(data));
  run(f, &fake_gpu, FALSE, GPOINTER_TO_UINT(data) == PEER_DEAF ? 500 : HANG_MS, &report);
  g_assert_false(report.ok);
  g_assert_nonnull(report.error);
  g_assert_nonnull(report.fix);
  assert_json(&report, "\"crc_host\": null");
  venc_probe_report_clear(&report);
}

static void test_no_gpu(Fixture *f, gconstpointer data) {
  VencProbeReport report;
  run(f, &no_gpu, FALSE, HANG_MS, &report);
  g_assert_false(report.ok);
  assert_json(&report, "\"device\": null");
  assert_json(&report, "no virtio-gpu");
  venc_probe_report_clear(&report);
}

static void add(void) {
  TEST("/probe/other-bytes", test_other_bytes);
  TEST("/probe/inline", test_inline);
  TEST("/probe/no-gpu", test_no_gpu);
  TEST("/probe/rendered", test_rendered);
  TEST_WITH("/probe/rendered/other-bytes", test_rendered, GUINT_TO_POINTER(1));
  TEST_WITH("/probe/rendered/no-3d", test_skipped, &fake_gpu);
  TEST_WITH("/probe/rendered/no-gl", test_skipped, &fake_3d_gpu);
  TEST_WITH("/probe/no-resources", test_refused, GUINT_TO_POINTER(PEER_NO_RESOURCES));
  TEST_WITH("/probe/deaf", test_refused, GUINT_TO_POINTER(PEER_DEAF));
}

TEST_MAIN(add)
