/* vsockenc-probe's work, against the scripted relay. */
#include "probe.h"

#include "fake-gpu.h"
#include "fixture.h"

static void run(Fixture *f, gboolean is_inline, VencProbeReport *report) {
  const VencProbeOptions options = {.gpu_ops = &fake_gpu,
                                    .address = {.socket_path = f->path},
                                    .is_inline = is_inline,
                                    .timeout_ms = 1000};
  venc_probe_run(&options, report);
}

static void assert_json(const VencProbeReport *report, const gchar *part) {
  g_autofree gchar *json = venc_probe_report_to_json(report);
  g_test_message("%s", json);
  g_assert_nonnull(strstr(json, part));
}

/* The peer cannot know the checksum of what is drawn, so it says a wrong one. */
static void test_other_bytes(Fixture *f, gconstpointer data) {
  VencProbeReport report;
  (void)data;
  peer_set_probe(f->peer, 0x1234abcd, 640 * 360 * 4);
  run(f, FALSE, &report);
  g_assert_false(report.ok);
  g_assert_cmpuint(report.resource, !=, 0);
  assert_json(&report, "\"ok\": false");
  assert_json(&report, "\"tier\": \"resource\", \"runs\": 3");
  assert_json(&report, "\"crc_host\": \"1234abcd\"");
  assert_json(&report, "\"encoders\": [\"peer\", \"peer-hevc\"]");
  assert_json(&report, "something else than was drawn");
  venc_probe_report_clear(&report);
}

static void test_inline(Fixture *f, gconstpointer data) {
  VencProbeReport report;
  (void)data;
  run(f, TRUE, &report);
  g_assert_no_error(report.error);
  g_assert_true(report.ok);
  g_assert_cmphex(report.crc, ==, report.host.crc);
  assert_json(&report, "\"tier\": \"inline\"");
  assert_json(&report, "\"error\": null, \"fix\": null}");
  venc_probe_report_clear(&report);
}

/* `data`: the peer's fault; each has an end and a reason. */
static void test_refused(Fixture *f, gconstpointer data) {
  VencProbeReport report;
  peer_set_faults(f->peer, GPOINTER_TO_UINT(data));
  run(f, FALSE, &report);
  g_assert_false(report.ok);
  g_assert_nonnull(report.error);
  g_assert_nonnull(report.fix);
  assert_json(&report, "\"crc_host\": null");
  venc_probe_report_clear(&report);
}

static void test_no_gpu(Fixture *f, gconstpointer data) {
  VencProbeReport report;
  const VencProbeOptions options = {
      .gpu_ops = &no_gpu, .address = {.socket_path = f->path}, .timeout_ms = 500};
  (void)data;
  venc_probe_run(&options, &report);
  g_assert_false(report.ok);
  assert_json(&report, "\"device\": null");
  assert_json(&report, "no virtio-gpu");
  venc_probe_report_clear(&report);
}

static void add(void) {
  TEST("/probe/other-bytes", test_other_bytes);
  TEST("/probe/inline", test_inline);
  TEST("/probe/no-gpu", test_no_gpu);
  FAULT("/probe/no-resources", test_refused, PEER_NO_RESOURCES);
  FAULT("/probe/deaf", test_refused, PEER_DEAF);
}

int main(int argc, char **argv) {
  return fixture_main(argc, argv, add);
}
