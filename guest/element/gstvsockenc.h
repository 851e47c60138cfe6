#ifndef GST_VSOCK_ENC_H
#define GST_VSOCK_ENC_H

#include <gst/video/video.h>

#include "virtgpu.h"

#define GST_TYPE_VSOCK_ENC (gst_vsock_enc_get_type())
GType gst_vsock_enc_get_type(void);

typedef struct _GstVsockEnc GstVsockEnc;
typedef struct {
  GstVideoEncoderClass parent_class;
  const VencGpuOps *gpu_ops; /* replaced in tests */
} GstVsockEncClass;

#endif
