/* vsockenc-probe's function, against the scripted relay. */
#include "probe.h"

#include "fake-gpu.h"
#include "fixture.h"

#define HANG_MS (HANG_SECONDS * 1000)

static void run(Fixture *f, const VencGpuOps *gpu, gboolean is_inline, guint timeout_ms,
                VencProbeReport *report) {
  const VencProbeOptions options = {.gpu_ops = gpu,
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
  g_assert_cmpuint(report.resource, !=, 0);
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
  g_assert_cmphex(report.crc, ==, report.host.crc);
  assert_json(&report, "\"tier\": \"inline\"");
  assert_json(&report, "\"error\": null, \"fix\": null}");
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
  TEST_WITH("/probe/no-resources", test_refused, GUINT_TO_POINTER(PEER_NO_RESOURCES));
  TEST_WITH("/probe/deaf", test_refused, GUINT_TO_POINTER(PEER_DEAF));
}

TEST_MAIN(add)
