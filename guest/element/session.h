/*
 * A session with the relay: keeps it open, sends frames, and queues their results as outputs.
 *
 * One I/O thread reads and writes the link. Outputs are in the order of the frames; the element
 * pops them in a thread of its own, so the I/O thread never waits for the pipeline, nor holds a
 * lock of it. session-private.h states the rules for threads and the lock. Every function may be
 * called in any thread.
 *
 * The session holds a frame's pixels by a reference, which it drops through the frame's `release`
 * function: after FrameDone, or in a lossless session after the frame's last answer, because until
 * then the frame may have to be sent again.
 *
 * Losing the host is normal. The session opens again with a new epoch, with back-off, for as long
 * as it lives; buffers are attached and the stream is configured again. A lossless session resends
 * the frames that have no answer, any other reports them as dropped.
 */
#ifndef VSOCKENC_SESSION_H
#define VSOCKENC_SESSION_H

#include <glib.h>

#include "link.h"
#include "wire.h"

typedef struct _VencSession VencSession;

/* Why a frame gave no access unit. */
typedef enum {
  VENC_DROPPED_NEWER,        /* a newer one replaced it */
  VENC_DROPPED_DISCONNECTED, /* the host was lost */
  VENC_DROPPED_ENCODER,      /* the host's encoder made no access unit of it */
  VENC_DROPPED_FLUSHED,
  VENC_DROP_CAUSES,
} VencDropCause;

typedef struct {
  guint width, height;
  guint32 fourcc;
  guint64 modifier;
  vsockenc_Content content; /* of its resources */
  gboolean host_memory;     /* one of them is in the host's memory */
  guint n_planes;
  vsockenc_Plane planes[VSOCKENC_MAX_PLANES];
} VencLayout;

/* Pixels where the CPU finds them; see planes.h. */
typedef struct _VencPixels VencPixels;

/* A frame. Filled by the caller, then owned by the session and its outputs. */
typedef struct {
  guint slot;         /* number of its buffer, below MAX_ATTACHED_BUFFERS */
  guint64 attachment; /* never 0; identifies the layout: a slot is attached again for another one */
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
  gboolean discard; /* flushed: its answers are awaited and ignored */
  guint32 number;
  gint64 sent_at;
} VencFrame;

void venc_frame_free(VencFrame *frame);

typedef enum {
  VENC_OUTPUT_PACKET,
  VENC_OUTPUT_DROPPED,
  VENC_OUTPUT_LOST, /* the host was lost; `text` is the reason */
  VENC_OUTPUT_BACK, /* the host is back */
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

/* The host's report of a buffer's pixels. */
typedef struct {
  guint32 crc; /* see venc_pixels_crc() */
  guint64 bytes;
  vsockenc_SourceTier tier;
  guint runs;
} VencProbe;

typedef enum {
  VENC_OK,
  VENC_AWAY,        /* not lossless, and the host is lost: the frame was not taken */
  VENC_INTERRUPTED, /* venc_session_interrupt() */
  VENC_FAILED,      /* the session has given up */
} VencResult;

VencSession *venc_session_new(const VencAddress *address, const gchar *software);
/* Sends Bye and joins the I/O thread, which does not wait for anything. */
void venc_session_free(VencSession *session);

/* Starts the I/O thread and waits until the session is open. */
gboolean venc_session_open(VencSession *session, guint timeout_ms, GError **error);

/* lossless: nothing is ever dropped; else the newest frame wins. Between streams only. */
void venc_session_set_mode(VencSession *session, gboolean lossless, gboolean fail_on_loss,
                           guint max_in_flight);
/* While set, every wait below returns VENC_INTERRUPTED at once. */
void venc_session_interrupt(VencSession *session, gboolean interrupted);

/*
 * Configures the encoding of later frames; the session sets the serial. With `wait` a new stream
 * begins: waits for the host's answer, unless the host is lost and the session may drop frames;
 * then the configuration is sent when the session opens. Sets `error` if the host refuses.
 */
VencResult venc_session_configure(VencSession *session, const vsockenc_Configure *configuration,
                                  gboolean wait, GError **error);
/* The host's last answer; all 0 before the first. The encoder's name is UTF-8. */
void venc_session_get_configured(VencSession *session, vsockenc_Configured *configured);
/* The host's offer. Names are UTF-8. */
void venc_session_get_host(VencSession *session, vsockenc_Welcome *host);

/*
 * Takes `frame` if the result is VENC_OK. Lossless: waits while `max_in_flight` frames are out.
 * Else never waits, and returns in `replaced` the frame that it replaced: one that waited for room,
 * not one that waits for the answer to its Attach.
 */
VencResult venc_session_submit(VencSession *session, VencFrame *frame, VencFrame **replaced);

/* Waits until every frame's output has been popped and acknowledged. */
VencResult venc_session_drain(VencSession *session);
/* Forgets every frame and output. Never waits. */
void venc_session_flush(VencSession *session);
/* Detaches the buffer as soon as no frame needs it. */
void venc_session_detach(VencSession *session, guint slot, guint64 attachment);

/*
 * Waits for the next output, NULL when interrupted. It counts as pending until
 * venc_session_output_done().
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
/* How the host read the last frame's pixels, and whether the element had copied them. */
vsockenc_SourceTier venc_session_tier(VencSession *session, gboolean *copied);
/*
 * Whether the host reads the frame's buffer behind all commands that the guest's GPU was given, so
 * that its writers need not be waited for: commands are in the virtqueue before the frame is
 * announced, and the exporter reads a texture after them. The wait would cost up to 10 ms, the
 * interval in which QEMU looks at fences. Pages are read at any time, and so is a blob in the
 * host's memory: Vulkan's commands (Venus) do not pass the virtqueue.
 */
gboolean venc_session_reads_in_order(VencSession *session, const VencFrame *frame);
/* Why the host accepts no resources, newly allocated; NULL if it does. */
gchar *venc_session_dup_refusal(VencSession *session);
/* FALSE while frames are sent inline even if they are in a resource. */
gboolean venc_session_wants_resources(VencSession *session);
/* Waits for `fd` until `deadline` (g_get_monotonic_time()): VENC_FAILED when it has passed. */
VencResult venc_session_wait_readable(VencSession *session, int fd, gint64 deadline);
void venc_session_get_statistics(VencSession *session, VencStatistics *statistics);
/* Port or socket, newly allocated. */
gchar *venc_session_dup_transport(VencSession *session);

#endif
