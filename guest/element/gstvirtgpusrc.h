#ifndef GST_VIRTGPU_SRC_H
#define GST_VIRTGPU_SRC_H

#include <gst/base/gstpushsrc.h>

#include "kms.h"
#include "virtgpu.h"

#define GST_TYPE_VIRTGPU_SRC (gst_virtgpu_src_get_type())
GType gst_virtgpu_src_get_type(void);

typedef struct _GstVirtgpuSrc GstVirtgpuSrc;
typedef struct {
  GstPushSrcClass parent_class;
  const VencKmsOps *kms_ops; /* both replaced in tests */
  const VencGpuOps *gpu_ops;
} GstVirtgpuSrcClass;

#endif
