#ifndef GST_VIRTGPU_SRC_H
#define GST_VIRTGPU_SRC_H

#include <gst/base/gstpushsrc.h>

#include "kms.h"
#include "virtgpu.h"

#define GST_TYPE_VIRTGPU_SRC (gst_virtgpu_src_get_type())
G_DECLARE_DERIVABLE_TYPE(GstVirtgpuSrc, gst_virtgpu_src, GST, VIRTGPU_SRC, GstPushSrc)

struct _GstVirtgpuSrcClass {
  GstPushSrcClass parent_class;
  /* Replaced by tests, which have no GPU. */
  const VencKmsOps *kms_ops;
  const VencGpuOps *gpu_ops;
};

#endif
