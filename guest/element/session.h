/*
 * A session with the relay: keeps it open, sends frames, collects what becomes of them.
 *
 * Theory of operation: one I/O thread owns the link and its parser and is the only one that
 * reads and writes. Every other thread changes the state under `lock` and wakes it. Whatever comes
 * of frames is put, in order, into a queue of outputs, which the element empties from a thread of
 * its own; so the I/O thread never waits for the pipeline, nor holds a lock of it.
 *
 * A frame's pixels are held by a reference that the session drops through its `release` function,
 * outside the lock: after FrameDone, or in a lossless session after the frame's last answer,
 * because until then it may have to be sent again.
 *
 * A lost host is ordinary. The session takes a new epoch and opens again, with back-off, for as
 * long as it lives; buffers are attached and the stream configured anew. A lossless session sends
 * the frames again that had no answer, another reports them as dropped.
 */
#ifndef VSOCKENC_SESSION_H
#define VSOCKENC_SESSION_H

#include <glib.h>

#include "link.h"
#include "wire.h"

typedef struct _VencSession VencSession;

/* Why a frame gave no access unit. */
typedef enum {
  VENC_DROPPED_NEWER,        /* a newer one took its place */
  VENC_DROPPED_DISCONNECTED, /* the host was away */
  VENC_DROPPED_ENCODER,      /* the host's encoder gave nothing for it */
  VENC_DROPPED_FLUSHED,
  VENC_DROP_CAUSES,
} VencDropCause;

typedef struct {
  guint32 resource; /* 0: the pixels come with the frame */
  guint64 offset;
  guint32 stride;
} VencPlane;

typedef struct {
  guint width, height;
  guint32 fourcc;
  guint64 modifier;
  guint n_planes;
  VencPlane planes[VSOCKENC_MAX_PLANES];
} VencLayout;

/* Pixels where the CPU finds them; see planes.h. */
typedef struct _VencPixels VencPixels;

/* A frame on its way. Filled by the caller, then owned by the session and its outputs. */
typedef struct {
  guint slot;         /* number of its buffer, below MAX_ATTACHED_BUFFERS */
  guint64 attachment; /* never 0; identifies the layout: a slot with another one is attached anew */
  VencLayout layout;
  guint64 pts, duration;
  gboolean force_key;
  gboolean copied; /* by the element, into memory that the host can reach */
  gpointer hold;   /* keeps the pixels */
  GDestroyNotify release;
  /* The pixels of `hold`, for as long as it lives. It may be called in any thread. */
  const VencPixels *(*map)(gpointer hold, GError **error);
  gpointer user; /* given back in the output */
  GDestroyNotify free_user;

  /* Used by the session alone. */
  enum { VENC_FRAME_QUEUED, VENC_FRAME_SENT, VENC_FRAME_READ } state;
  gboolean discard; /* flushed: its answers are awaited, but nobody wants them */
  guint32 number;
  gint64 sent_at;
} VencFrame;

void venc_frame_free(VencFrame *frame);

typedef enum {
  VENC_OUTPUT_PACKET,
  VENC_OUTPUT_DROPPED,
  VENC_OUTPUT_LOST, /* the host went away; `text` says how */
  VENC_OUTPUT_BACK, /* it is here again */
  VENC_OUTPUT_WARNING,
  VENC_OUTPUT_FAILED, /* the session has given up; `code` is a VencError */
} VencOutputKind;

typedef struct {
  VencOutputKind kind;
  VencFrame *frame; /* of PACKET and DROPPED */
  guint8 *bytes;
  gsize size;
  gboolean key;
  VencDropCause cause;
  gint code;
  gchar *text;
} VencOutput;

void venc_output_free(VencOutput *output);

/* What the host has said that it can do. */
typedef struct {
  guint n_encoders;
  vsockenc_EncoderOffer encoders[VSOCKENC_MAX_ENCODER_OFFERS]; /* best first */
  guint n_modifiers;
  guint64 modifiers[VSOCKENC_MAX_MODIFIERS]; /* besides linear */
} VencHost;

typedef struct {
  vsockenc_Codec codec;
  vsockenc_Profile profile; /* UNSPECIFIED: the host chooses */
  guint n_levels;           /* 0: any */
  guint32 levels[VSOCKENC_MAX_LEVELS];
  vsockenc_RateControl rate_control;
  guint width, height;
  guint fps_n, fps_d;
  guint bitrate_kbps, keyframe_interval;
  guint par_n, par_d;
  gboolean has_colorimetry;
  vsockenc_Colorimetry colorimetry;
} VencConfiguration;

typedef enum {
  VENC_STAGE_QUEUE,
  VENC_STAGE_CONVERT,
  VENC_STAGE_ENCODE,
  VENC_STAGE_ROUND_TRIP,
  VENC_STAGES,
} VencStage;

typedef struct {
  guint64 packets, key_frames;
  guint64 dropped[VENC_DROP_CAUSES];
  guint64 bytes_sent, bytes_received, frame_bytes_sent;
  guint64 sessions, attaches;
  guint attached, runs;
  guint64 frames_inline, pixel_bytes_sent;
  vsockenc_SourceTier tier; /* of the last frame that was read, */
  gboolean copied;          /* and whether it had been copied */
  guint32 p50_us[VENC_STAGES], p95_us[VENC_STAGES];
  gchar host[VSOCKENC_MAX_NAME_BYTES + 1];
  gchar encoder[VSOCKENC_MAX_NAME_BYTES + 1];
} VencStatistics;

/* What the host says of a buffer's pixels. */
typedef struct {
  guint32 crc; /* see venc_pixels_crc() */
  guint64 bytes;
  vsockenc_SourceTier tier;
  guint runs;
} VencProbe;

typedef enum {
  VENC_OK,
  VENC_AWAY,        /* not lossless, and the host is away: the frame was not taken */
  VENC_INTERRUPTED, /* venc_session_interrupt() */
  VENC_FAILED,      /* the session has given up */
} VencResult;

VencSession *venc_session_new(const VencAddress *address, const gchar *software);
/* Says Bye and waits for the I/O thread, which waits for nothing. */
void venc_session_free(VencSession *session);

/* Starts the I/O thread and waits until the session is open. */
gboolean venc_session_open(VencSession *session, guint timeout_ms, GError **error);

/* lossless: nothing is ever dropped; else the newest frame wins. Between streams only. */
void venc_session_set_mode(VencSession *session, gboolean lossless, gboolean fail_on_loss,
                           guint max_in_flight);
/* While set, every wait below returns VENC_INTERRUPTED at once. */
void venc_session_interrupt(VencSession *session, gboolean interrupted);

/*
 * What later frames are to become. With `wait` it is another stream: waits for the host's answer;
 * an unopened session of a stream that may lose frames takes it along when it opens. Fills `error`
 * when the host refuses.
 */
VencResult venc_session_configure(VencSession *session, const VencConfiguration *configuration,
                                  gboolean wait, GError **error);
/* What the host has said last of the stream; all 0 before. The encoder's name is UTF-8. */
void venc_session_get_configured(VencSession *session, vsockenc_Configured *configured);
/* Names are UTF-8. */
void venc_session_get_host(VencSession *session, VencHost *host);

/*
 * Takes `frame` if the result is VENC_OK. Lossless: waits while as many as allowed are out. Else
 * never waits, and gives back in `replaced` the frame whose place it took: one that waits for room,
 * not one that waits for the answer to its Attach.
 */
VencResult venc_session_submit(VencSession *session, VencFrame *frame, VencFrame **replaced);

/* Waits until every frame's output has been popped and acknowledged. */
VencResult venc_session_drain(VencSession *session);
/* Forgets every frame and output. Never waits. */
void venc_session_flush(VencSession *session);
/* The buffer is gone: forget it as soon as no frame needs it. */
void venc_session_detach(VencSession *session, guint slot, guint64 attachment);

/*
 * Waits for the next output, NULL when interrupted. Until venc_session_output_done() it counts as
 * not yet out.
 */
VencOutput *venc_session_pop_output(VencSession *session);
void venc_session_output_done(VencSession *session);

/*
 * Has the host read the buffer of `frame`, which stays the caller's: as a resource, or in the
 * pixels of the last frame with that buffer if it is inline.
 */
gboolean venc_session_probe(VencSession *session, const VencFrame *frame, guint timeout_ms,
                            VencProbe *result, GError **error);

/* Frames that have no answer yet. */
guint venc_session_pending(VencSession *session);
/* Whether frames may be dropped to keep up, i.e. the session is not lossless. */
gboolean venc_session_may_drop(VencSession *session);
/* How the host reached the pixels that it read last, and whether they had been copied for it. */
vsockenc_SourceTier venc_session_tier(VencSession *session, gboolean *copied);
/* Why the host takes no resources, newly allocated; NULL if it does. */
gchar *venc_session_dup_refusal(VencSession *session);
/* FALSE while frames in a resource would be sent inline all the same. */
gboolean venc_session_wants_resources(VencSession *session);
/* Waits for `fd` until `deadline` (g_get_monotonic_time()): VENC_FAILED when it has passed. */
VencResult venc_session_wait_readable(VencSession *session, int fd, gint64 deadline);
void venc_session_get_statistics(VencSession *session, VencStatistics *statistics);
/* Port or socket, newly allocated. */
gchar *venc_session_dup_transport(VencSession *session);

#endif
