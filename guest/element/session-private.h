/* The session's insides, shared by the session*.c files. Everything is guarded by `lock` unless
 * told. */
#ifndef VSOCKENC_SESSION_PRIVATE_H
#define VSOCKENC_SESSION_PRIVATE_H

#include "session.h"

/* Unsent bytes beyond this mean that the peer does not read. */
#define VENC_OUT_LIMIT \
  (VSOCKENC_FLUSH_NULS + VSOCKENC_GUEST_WINDOW_BYTES + VSOCKENC_CONTROL_RESERVE_BYTES)
#define VENC_SAMPLES 1024u

typedef enum {
  VENC_STATE_CLOSED,  /* no link, or nobody at its other end */
  VENC_STATE_OPENING, /* Hello is sent and repeated */
  VENC_STATE_OPEN,
} VencState;

typedef struct {
  guint64 attachment; /* 0: the number is free */
  gboolean asked;     /* Attach has not been answered */
  gboolean is_inline; /* it has been attached without resources */
  vsockenc_SourceTier tier;
  guint in_use;    /* frames sent and not yet read by the host */
  gboolean detach; /* as soon as in_use is 0 */
  guint64 last_use;
} VencSlot;

/* The last durations of a stage. */
typedef struct {
  guint32 values[VENC_SAMPLES];
  guint64 count;
} VencSamples;

struct _VencSession {
  GMutex lock;
  GCond changed;
  GThread *thread;
  int wake;   /* eventfd: makes the I/O thread look at the state again */
  int cancel; /* eventfd: readable while `interrupted` */
  VencAddress address;
  gchar *software;
  VencHost host;
  gboolean closing;
  gboolean interrupted;
  GError *failure; /* set once: the session has given up */

  /* Mode. */
  gboolean lossless, fail_on_loss;
  guint max_in_flight;

  /* The link, used by the I/O thread alone; `link.name` changes under the lock. */
  VencLink link;
  VencParser parser;
  VencMessage received, sending;
  GError *link_error; /* why the last opening did not succeed */

  /* The opening and what keeps the session open. Times are g_get_monotonic_time(). */
  VencState state;
  gboolean was_open; /* a loss of it is worth a warning */
  gboolean announce; /* that warning has been given; BACK follows */
  guint32 epoch, boot_id;
  guint hellos; /* sent in this epoch */
  guint32 sequence_out, sequence_in;
  guint max_attached, host_in_flight;
  gint64 retry_at, hello_at, ping_at;
  gint64 last_received, last_sent;
  gint64 opened_at; /* the link */
  gint64 asked_at;  /* the Attach that has no answer; 0: there is none */
  guint backoff_ms;
  /* The host opens, and refuses: first time without success in between, and last time. */
  gint64 refused_since, refused_last;
  GByteArray *out; /* bytes not yet taken by the link */

  /* Credits: totals of this epoch. */
  guint64 bulk_sent, bulk_allowed;
  guint64 bulk_received, bulk_granted;

  /* Configuration. */
  gboolean has_configuration;
  gboolean configuration_changed; /* not yet sent in this epoch */
  gboolean configuration_pending; /* sent and not answered */
  guint32 serial;
  guint configuring; /* threads waiting for the answer */
  VencConfiguration configuration;
  VencConfiguration sent;     /* the one of `serial` */
  VencConfiguration accepted; /* the last one that the host took */
  gboolean has_accepted;
  vsockenc_Configured configured;
  GError *configuration_error;

  /* Frames without a last answer, oldest first, and what came of the others. */
  GQueue frames;
  GQueue outputs;
  gboolean output_busy; /* one has been popped and is being pushed */
  gboolean force_next_key;
  guint draining; /* threads waiting for everything to be out */
  gboolean drain_sent;
  guint32 next_frame, next_token;
  guint64 last_pts; /* on the wire */
  gint64 pts_shift; /* wire time minus stream time; grows when the stream jumps back */
  VencSlot slots[VSOCKENC_MAX_ATTACHED_BUFFERS];

  /* Why resources are not used at present, and when to ask again; NULL: they are. */
  gchar *refusal;
  gint64 ask_again_at;
  /* The pixels being sent: no other frame may follow before all of them. Without `pixels` the host
   * needs them no more, and has only been promised that many bytes. */
  guint32 pixels_frame, pixels_size, pixels_sent;
  const VencPixels *pixels;

  /* What the host is asked about a buffer; NULL: nothing. */
  const VencFrame *probe_frame;
  gboolean probe_sent;
  VencProbe probe;
  GError *probe_error;

  /* The access unit being received. */
  guint8 *unit;
  gsize unit_size, unit_received;
  vsockenc_Packet unit_packet;

  /* References to be dropped once the lock is released. */
  GPtrArray *unwanted;

  VencStatistics statistics;
  VencSamples samples[VENC_STAGES];
};

/* session-link.c: the I/O thread, opening and losing. */
gpointer venc_session_run(gpointer session);
void venc_session_wake(VencSession *session);
void venc_session_lose(VencSession *session, gint64 now, const gchar *format, ...)
    G_GNUC_PRINTF(3, 4);
/* Like lose, but the host is there and does not want us: gives up after a while. */
void venc_session_refused(VencSession *session, gint64 now, gint code, const gchar *text);
void venc_session_give_up(VencSession *session, gint code, const gchar *text);

/* session-send.c */
void venc_session_pump(VencSession *session, gint64 now);
void venc_session_send_hello(VencSession *session, gint64 now);
void venc_session_send_ping(VencSession *session, gint64 now);
void venc_session_send_pong(VencSession *session, gint64 now, guint32 token);
void venc_session_send_credit(VencSession *session, gint64 now);
void venc_session_send_bye(VencSession *session, gint64 now);
void venc_session_send_flush(VencSession *session, gint64 now);
void venc_session_send_error(VencSession *session, gint64 now, const gchar *text);

/* session-source.c: by which way pixels reach the host. */
void venc_session_refuse_resources(VencSession *session, gint64 now, const gchar *text);
gboolean venc_session_is_inline(const VencSession *session, const VencFrame *frame, gint64 now);
/* Begins to send the frame's pixels, behind its Frame. */
void venc_session_begin_pixels(VencSession *session, const VencFrame *frame,
                               const VencPixels *pixels);
/* Sends what there is credit for; TRUE when nothing is left. */
gboolean venc_session_send_pixels(VencSession *session, gint64 now);
/* The host needs the frame's pixels no more. */
void venc_session_release_pixels(VencSession *session, const VencFrame *frame);

/* session-probe.c; FALSE: nobody asked. */
gboolean venc_session_probe_refused(VencSession *session, guint buffer, const gchar *text);
gboolean venc_session_on_probed(VencSession *session, const vsockenc_Probed *probed);

/* session-send.c */
VencMessage *venc_session_begin(VencSession *session, vsockenc_MessageType type);
gsize venc_session_finish(VencSession *session, gint64 now);

/* session-receive.c */
void venc_session_receive(VencSession *session, gint64 now);

/* session.c */
void venc_session_push_output(VencSession *session, VencOutputKind kind, gint code,
                              const gchar *text);
void venc_session_push_dropped(VencSession *session, VencFrame *frame, VencDropCause cause);
/* Drops the reference to the pixels, later and outside the lock. */
void venc_session_unhold(VencSession *session, VencFrame *frame);
void venc_session_discard(VencSession *session, VencFrame *frame);
/* Takes the lock, gives it back, and drops what is in `unwanted`. */
void venc_session_lock(VencSession *session);
void venc_session_unlock(VencSession *session);

#endif
