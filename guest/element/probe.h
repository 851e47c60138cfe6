/*
 * Checks the whole path of the pixels with one buffer: draws into it, has the host read it, and
 * compares checksums. `vsockenc doctor --probe` runs it in a guest.
 */
#ifndef VSOCKENC_PROBE_H
#define VSOCKENC_PROBE_H

#include "session.h"
#include "virtgpu.h"

typedef struct {
  const VencGpuOps *gpu_ops;
  VencAddress address;
  gboolean is_inline; /* over the link, behind a frame that is also encoded */
  guint timeout_ms;   /* of each step */
} VencProbeOptions;

typedef struct {
  gboolean ok;
  gchar *device; /* node of the virtio-gpu, or NULL */
  guint32 resource;
  VencProbe host;
  guint32 crc; /* of the drawn pixels */
  guint64 bytes;
  VencStatistics statistics;
  vsockenc_Welcome offers;
  GError *error;    /* NULL: there was none */
  const gchar *fix; /* the remedy */
} VencProbeReport;

void venc_probe_run(const VencProbeOptions *options, VencProbeReport *report);
void venc_probe_report_clear(VencProbeReport *report);
/* As JSON, newly allocated. */
gchar *venc_probe_report_to_json(const VencProbeReport *report);

#endif
