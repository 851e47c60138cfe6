/* The element's fields and functions, shared by the gstvsockenc*.c files. */
#ifndef GST_VSOCK_ENC_PRIVATE_H
#define GST_VSOCK_ENC_PRIVATE_H

#include "buffers.h"
#include "gstvsockenc.h"
#include "parameter-sets.h"
#include "session.h"
#include "vsockenc-properties.h"

#define GST_CAT_DEFAULT gst_vsock_enc_debug
GST_DEBUG_CATEGORY_EXTERN(gst_vsock_enc_debug);

/* The negotiated stream. */
typedef struct {
  vsockenc_Configure stream; /* codec; profile, UNSPECIFIED: any; levels, none: any */
  const gchar *media, *stream_format;
  gboolean packetized; /* parameter sets in codec_data, NAL units behind their lengths */
} GstVsockEncChoice;

#define GST_VSOCK_ENC(object) G_TYPE_CHECK_INSTANCE_CAST((object), GST_TYPE_VSOCK_ENC, GstVsockEnc)

struct _GstVsockEnc {
  GstVideoEncoder parent;

  /* Under the object lock. */
  GstVsockEncSettings settings;
  gboolean vsock;        /* one of its properties was set */
  gint settings_changed; /* atomic: a property that matters to the host was set */
  guint64 frames_in, frames_copied, frames_late;
  guint64 refused_modifiers[8]; /* that were warned of */
  guint n_refused_modifiers;
  gchar *copy_reason;       /* of the first copy */
  GstFlowReturn downstream; /* result of the last push */

  /* From NULL→READY to READY→NULL; pointers change under the object lock. */
  VencSession *session;
  VencGpu *gpu;
  VencBuffers *buffers;
  GstAllocator *allocator;
  GError *gpu_error; /* why there is no gpu; pixels go over the link then */

  /* Of the stream, under the stream lock. */
  GstVideoCodecState *input; /* NULL: no caps yet */
  VencPicture picture;       /* its info describes the pixels, also for DMA_DRM caps */
  GstVsockEncChoice choice;
  gboolean lossless;     /* frames may not be dropped to keep up */
  GstBufferPool *copies; /* for frames from foreign memory */
  GstClockTime last_pts;
  GstVsockEncSource notified_source; /* the last that was notified */
  guint warned_sources;              /* bits of those that were warned of */
  guint max_pending;                 /* most frames that have been with the host */
  GstClockTime set_latency;          /* GST_CLOCK_TIME_NONE: none yet */
  gboolean has_caps;                 /* of the output, perhaps without profile and level */
  GQueue drops;                      /* frames to be dropped when there are caps */
  gboolean negotiate;                /* before the next access unit: downstream has other caps */
  VencParameterSets sets;            /* that the output caps were made from; no record: none yet */
  gchar *tagged_encoder;             /* in the tags, */
  guint tagged_bitrate;              /* and that, in kbit/s */
  guint warned_bitrate;              /* value of the property that was warned of */
  gboolean warned_content;           /* that auto is a guess */
};

GstVsockEncSource gst_vsock_enc_get_source(GstVsockEnc *self);

/* gstvsockenc-input.c: streaming thread. */
gboolean gst_vsock_enc_set_format(GstVideoEncoder *encoder, GstVideoCodecState *state);
GstFlowReturn gst_vsock_enc_handle_frame(GstVideoEncoder *encoder, GstVideoCodecFrame *frame);
/* Adopts the fields of new caps that the base class ignores. Stream lock held. */
gboolean gst_vsock_enc_update_caps(GstVsockEnc *self, GstCaps *caps);
void gst_vsock_enc_reset_input(GstVsockEnc *self);
/* Waits until the writers of the buffer's DmaBufs have finished (implicit fences). */
void gst_vsock_enc_wait_for_writers(GstVsockEnc *self, GstBuffer *buffer);
/* Waits until every frame is out; the stream lock is held before and after, and free meanwhile. */
GstFlowReturn gst_vsock_enc_drain(GstVsockEnc *self);

/* gstvsockenc-memory.c: streaming thread. */
gboolean gst_vsock_enc_propose_allocation(GstVideoEncoder *encoder, GstQuery *query);
/*
 * Chooses how the host gets the pixels: in their own resource, as a copy in a resource, or over the
 * link.
 */
gboolean gst_vsock_enc_use_buffer(GstVsockEnc *self, GstBuffer *buffer, VencFrame *out,
                                  GError **error);
void gst_vsock_enc_clear_copies(GstVsockEnc *self);

/* gstvsockenc-output.c: the source pad's task. */
gboolean gst_vsock_enc_start_output(GstVsockEnc *self);
void gst_vsock_enc_pause_output(GstVsockEnc *self);
void gst_vsock_enc_stop_output(GstVsockEnc *self);
void gst_vsock_enc_drop_frame(GstVsockEnc *self, GstVideoCodecFrame *frame);
/* Drops the frames that waited for caps; stream lock held. */
void gst_vsock_enc_release_drops(GstVsockEnc *self);

/* gstvsockenc-caps.c */
GstCaps *gst_vsock_enc_src_caps(void); /* all that any host may offer */
GstCaps *gst_vsock_enc_getcaps(GstVideoEncoder *encoder, GstCaps *filter);
/* FALSE: the element is not open, and the template is the answer. */
gboolean gst_vsock_enc_answer_src_caps(GstVsockEnc *self, GstQuery *query);
void gst_vsock_enc_explain_refusal(GstVsockEnc *self, GstQuery *query);
/* Negotiates a stream of pictures such as `info`; on FALSE `error` names what each side wants. */
gboolean gst_vsock_enc_choose(GstVsockEnc *self, const GstVideoInfo *info,
                              GstVsockEncChoice *choice, GError **error);
GstCaps *gst_vsock_enc_sink_caps(void);
/* Size and format of `caps`; on FALSE `error` names what the host does not accept. */
gboolean gst_vsock_enc_parse_caps(GstCaps *caps, const vsockenc_Welcome *host, VencPicture *picture,
                                  GError **error);
gboolean gst_vsock_enc_colorimetry_to_wire(const GstVideoColorimetry *from,
                                           vsockenc_Colorimetry *to);
void gst_vsock_enc_colorimetry_from_wire(const vsockenc_Colorimetry *from, GstVideoColorimetry *to);

#endif
