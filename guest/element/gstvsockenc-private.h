/* The element's insides, shared by the gstvsockenc*.c files. */
#ifndef GST_VSOCK_ENC_PRIVATE_H
#define GST_VSOCK_ENC_PRIVATE_H

#include "allocator.h"
#include "buffers.h"
#include "gstvsockenc.h"
#include "session.h"
#include "vsockenc-properties.h"

#define GST_CAT_DEFAULT gst_vsock_enc_debug
GST_DEBUG_CATEGORY_EXTERN(gst_vsock_enc_debug);

typedef struct {
  /* Under the object lock. */
  GstVsockEncSettings settings;
  gboolean vsock;        /* one of its properties was set */
  gint settings_changed; /* atomic: a property that matters to the host was set */
  guint64 frames_in, frames_copied;
  gchar *copy_reason;       /* of the first copy */
  GstFlowReturn downstream; /* what downstream said last */

  /* From NULL→READY to READY→NULL; pointers change under the object lock. */
  VencSession *session;
  VencGpu *gpu;
  VencBuffers *buffers;
  GstAllocator *allocator;
  GError *gpu_error; /* why there is no gpu; pixels go over the link then */

  /* Of the stream, under the stream lock. */
  GstVideoCodecState *input; /* NULL: no caps yet */
  GstVideoInfo info;         /* of the pixels, also where the caps say DMA_DRM */
  guint32 fourcc;
  gboolean live;
  GstBufferPool *copies; /* for frames from foreign memory */
  GstClockTime last_pts;
  GstVsockEncSource told_source; /* the last that was notified */
  guint warned_sources;          /* bits of those that were warned of */
  guint max_pending;             /* most frames that have been with the host */
  GstClockTime told_latency;     /* GST_CLOCK_TIME_NONE: none yet */
  vsockenc_Configured configured;
  gboolean has_caps;  /* of the output, perhaps without profile and level */
  GQueue drops;       /* frames to be dropped when there are caps */
  gboolean negotiate; /* before the next access unit: the caps are not those downstream has */
  guint8 profile[3];  /* of the SPS that the output caps were made from */
} GstVsockEncPrivate;

GstVsockEncPrivate *gst_vsock_enc_private(GstVsockEnc *self);
GstVsockEncSource gst_vsock_enc_get_source(GstVsockEnc *self);

/* gstvsockenc-input.c: streaming thread. */
gboolean gst_vsock_enc_set_format(GstVideoEncoder *encoder, GstVideoCodecState *state);
GstFlowReturn gst_vsock_enc_handle_frame(GstVideoEncoder *encoder, GstVideoCodecFrame *frame);
gboolean gst_vsock_enc_propose_allocation(GstVideoEncoder *encoder, GstQuery *query);
/* Adopts what of new caps the base class does not look at. Stream lock held. */
void gst_vsock_enc_update_caps(GstVsockEnc *self, GstCaps *caps);
void gst_vsock_enc_reset_input(GstVsockEnc *self);
/* Waits until every frame is out; the stream lock is held before and after, and free meanwhile. */
GstFlowReturn gst_vsock_enc_drain(GstVsockEnc *self);

/* gstvsockenc-output.c: the source pad's task. */
gboolean gst_vsock_enc_start_output(GstVsockEnc *self);
void gst_vsock_enc_pause_output(GstVsockEnc *self);
void gst_vsock_enc_stop_output(GstVsockEnc *self);
void gst_vsock_enc_drop_frame(GstVsockEnc *self, GstVideoCodecFrame *frame);
/* Drops what waited for caps; stream lock held. */
void gst_vsock_enc_release_drops(GstVsockEnc *self);

/* gstvsockenc-formats.c: pure functions. */
GstCaps *gst_vsock_enc_sink_caps(void);
gboolean gst_vsock_enc_is_dmabuf_caps(const GstCaps *caps);
/* The pixels behind `caps`; on FALSE `error` says what the host does not take. */
gboolean gst_vsock_enc_parse_caps(GstCaps *caps, GstVideoInfo *info, guint32 *fourcc,
                                  GError **error);
gboolean gst_vsock_enc_colorimetry_to_wire(const GstVideoColorimetry *from,
                                           vsockenc_Colorimetry *to);
void gst_vsock_enc_colorimetry_from_wire(const vsockenc_Colorimetry *from, GstVideoColorimetry *to);
/* The SPS, behind its one-byte header, in an access unit; NULL if there is none. */
const guint8 *gst_vsock_enc_find_sps(const guint8 *unit, gsize size, guint *sps_size);

#endif
