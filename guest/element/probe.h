/*
 * Checks the whole path of the pixels: draws into a buffer, has the host read it, and compares
 * checksums; by the CPU, and where the virtio-gpu renders by the GPU too. `vsockenc doctor --probe`
 * runs it in a guest.
 */
#ifndef VSOCKENC_PROBE_H
#define VSOCKENC_PROBE_H

#include "gl-picture.h"
#include "session.h"
#include "virtgpu.h"

typedef struct {
  const VencGpuOps *gpu_ops;
  /* venc_gl_draw(), or another in tests */
  gboolean (*draw)(const gchar *node, guint width, guint height, VencGlPicture *picture,
                   GError **error);
  VencAddress address;
  gboolean is_inline; /* over the link, behind a frame that is also encoded */
  guint timeout_ms;   /* of each step */
} VencProbeOptions;

/* One buffer. */
typedef struct {
  guint32 resource;
  guint32 crc; /* of the drawn pixels */
  guint64 bytes;
  VencProbe host;
} VencProbed;

typedef struct {
  gboolean ok;
  gchar *device;    /* node of the virtio-gpu, or NULL */
  VencProbed pages; /* drawn by the CPU */
  VencProbed rendered;
  gchar *not_rendered; /* why no rendered buffer was tried; NULL: one was, or the CPU's failed */
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
