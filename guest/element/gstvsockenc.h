#ifndef GST_VSOCK_ENC_H
#define GST_VSOCK_ENC_H

#include <gst/video/video.h>

#include "virtgpu.h"

G_BEGIN_DECLS

#define GST_TYPE_VSOCK_ENC (gst_vsock_enc_get_type())
G_DECLARE_DERIVABLE_TYPE(GstVsockEnc, gst_vsock_enc, GST, VSOCK_ENC, GstVideoEncoder)

struct _GstVsockEncClass {
  GstVideoEncoderClass parent_class;
  /* The kernel's virtio-gpu; tests put another in its place. */
  const VencGpuOps *gpu_ops;
};

G_END_DECLS

#endif
