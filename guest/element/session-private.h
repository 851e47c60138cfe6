/*
 * The session and its parts. Each part is a struct of its own, whose fields only the part's own
 * file writes, and session.c frees: other files read them or call its functions. Functions of a
 * part take the part if they concern it alone, and the session if other parts are involved.
 *
 * Threads and the lock, for all parts: `lock` guards every field, and every function of a part
 * needs it. One I/O thread (session-thread.c) opens, reads, writes and closes the link; other
 * threads change the state and call venc_session_wake(). Every change that a wait may be for is
 * announced with `changed`. The caller's functions (release, free_user) run without the lock: what
 * they free waits in `unwanted` for venc_session_unlock(). Only `map` of a frame runs with it held.
 */
#ifndef VSOCKENC_SESSION_PRIVATE_H
#define VSOCKENC_SESSION_PRIVATE_H

#include "session.h"

/*
 * The connection to the relay: link, bytes, epoch, sequence numbers and credits (proto/PROTOCOL.md,
 * "Opening" and "Credits"). It knows no frame. Times are g_get_monotonic_time().
 */
#define VENC_MS(n) ((gint64)(n)*G_TIME_SPAN_MILLISECOND)

typedef enum {
  VENC_STATE_CLOSED,  /* no link, or no relay at its other end */
  VENC_STATE_OPENING, /* Hello is sent and repeated */
  VENC_STATE_OPEN,
} VencState;

typedef struct {
  VencAddress address;
  gchar *software;
  VencLink link;
  VencParser parser;
  VencMessage received, message; /* `message` is being sent */
  GByteArray *out;               /* bytes that the link has not taken */
  GError *error;                 /* why the last opening did not succeed */

  VencState state;
  guint32 epoch, boot_id;
  guint repetitions; /* of Hello in this epoch, because there was no answer */
  guint32 sequence_out, sequence_in, last_token;
  guint backoff_ms;
  gint64 older_at; /* first Greeting of an older relay on this link; 0: none */
  gint64 retry_at, hello_at, ping_at, link_opened_at, last_received, last_sent;
  /* Credits: totals of this epoch. */
  guint64 bulk_sent, bulk_allowed, bulk_received, bulk_granted;
  guint64 bytes_sent, bytes_received, openings;
} VencConnection;

typedef enum { VENC_ACCOUNT_OK, VENC_ACCOUNT_GAP, VENC_ACCOUNT_EXCESS } VencAccount;

void venc_connection_init(VencConnection *connection, const VencAddress *address,
                          const gchar *software);
void venc_connection_clear(VencConnection *connection);

/* Opens the link unless it is; FALSE with `error` set. */
gboolean venc_connection_open_link(VencConnection *connection);
/* The link has ended for the errno `reason`, which sets `error`. */
void venc_connection_end_link(VencConnection *connection, int reason);
void venc_connection_begin_epoch(VencConnection *connection);
void venc_connection_end_epoch(VencConnection *connection);
void venc_connection_opened(VencConnection *connection, const vsockenc_Welcome *welcome);
/* Closes what can be closed, and sets the time of the next attempt. */
void venc_connection_lost(VencConnection *connection);
/* The next attempt after a loss need not wait. */
static inline void venc_connection_reset_backoff(VencConnection *connection) {
  connection->backoff_ms = 0;
}

/* Writes what the link takes; FALSE when the link has ended. */
gboolean venc_connection_write(VencConnection *connection);
/* Reads once into the parser: bytes, 0 for "not now", -1 when the link has ended. */
gssize venc_connection_read(VencConnection *connection);
/* Takes the next message out of what was read. It is valid until the next call. */
VencWireResult venc_connection_next(VencConnection *connection, const VencMessage **message);
/* Sequence and credits of a message of this epoch. */
VencAccount venc_connection_account(VencConnection *connection, const VencMessage *message);
static inline void venc_connection_add_credit(VencConnection *connection, guint64 granted_bytes) {
  connection->bulk_allowed = MAX(connection->bulk_allowed, granted_bytes);
}

/* A new message, all fields 0; the next call sends it and returns its length. */
VencMessage *venc_connection_begin(VencConnection *connection, vsockenc_MessageType type);
gsize venc_connection_send(VencConnection *connection);
/* The same for a message that costs credit, and whether there is enough of it. */
gsize venc_connection_send_bulk(VencConnection *connection);
static inline gboolean venc_connection_has_credit(const VencConnection *connection, gsize bytes) {
  return connection->bulk_sent + bytes <= connection->bulk_allowed;
}
static inline guint32 venc_connection_next_token(VencConnection *connection) {
  return ++connection->last_token;
}
/* Hello again, because there is no answer; nothing while the one before has not been taken. */
void venc_connection_repeat_hello(VencConnection *connection);
/* Hello again, because a relay is there now that may not have had the one before. */
void venc_connection_greeted(VencConnection *connection);
/* A Greeting of an older version; TRUE: the relay speaks no other. */
gboolean venc_connection_greeted_older(VencConnection *connection, const gchar *text);
void venc_connection_send_ping(VencConnection *connection);
void venc_connection_send_credit(VencConnection *connection);
/* Also writes it, as the link is closed next. */
void venc_connection_send_error(VencConnection *connection, const gchar *text);

/* The host's offer, the stream's configuration, and the host's answer to it. */
typedef struct {
  vsockenc_Welcome host;

  gboolean is_set;             /* there is a configuration, */
  gboolean changed;            /* not yet sent in this epoch, */
  gboolean pending;            /* sent and not answered */
  guint32 serial;              /* of the one that was sent last */
  guint waiting;               /* threads that wait for the answer */
  vsockenc_Configure wanted;   /* the newest */
  vsockenc_Configure sent;     /* the one of `serial` */
  vsockenc_Configure accepted; /* the last one that the host took, if it did in this epoch */
  gboolean has_accepted;
  vsockenc_Configured configured;
  gchar encoder_name[VSOCKENC_MAX_NAME_BYTES + 1]; /* the last that was not empty */
  GError *error;
} VencNegotiation;

void venc_negotiation_end_epoch(VencNegotiation *negotiation);
void venc_negotiation_take_offer(VencNegotiation *negotiation, const vsockenc_Welcome *welcome);
/* Sends Configure if need be; TRUE when frames may follow. */
gboolean venc_negotiation_pump(VencSession *session);
void venc_negotiation_on_configured(VencSession *session, const vsockenc_Configured *configured);
void venc_negotiation_on_error(VencSession *session, guint32 serial, const gchar *text);

/* Which buffer the host knows by which number (proto/PROTOCOL.md, "Buffers"). */
typedef struct {
  guint64 attachment; /* 0: the number is free */
  gboolean asked;     /* Attach has not been answered */
  gboolean is_inline; /* it has been attached without resources */
  vsockenc_SourceTier tier;
  guint in_use;    /* frames sent and not yet read by the host */
  gboolean detach; /* as soon as in_use is 0 */
  guint64 last_use;
} VencSlot;

typedef struct {
  VencSlot slots[VSOCKENC_MAX_ATTACHED_BUFFERS];
  guint limit;     /* the host's */
  gint64 asked_at; /* when the Attach was sent that has no answer; 0: there is none */
  guint64 attaches, uses;
  guint runs; /* of the last that was attached */
} VencAttachments;

void venc_attachments_end_epoch(VencAttachments *attachments);
static inline void venc_attachments_opened(VencAttachments *attachments,
                                           const vsockenc_Welcome *welcome) {
  attachments->limit = CLAMP(welcome->max_attached, 1, VSOCKENC_MAX_ATTACHED_BUFFERS);
}
/* Sends every Detach that is due. */
void venc_attachments_pump(VencSession *session);
/* Attaches the frame's buffer, inline if there are `pixels`; FALSE: the frame may not be sent yet.
 */
gboolean venc_attachments_ensure(VencSession *session, const VencFrame *frame,
                                 const VencPixels *pixels);
/* The host may read the buffer from now on, and has read it. */
void venc_attachments_begin_use(VencAttachments *attachments, guint slot);
static inline void venc_attachments_end_use(VencAttachments *attachments, guint slot) {
  attachments->slots[slot].in_use--;
}
/* Detaches the buffer as soon as no frame needs it. */
static inline void venc_attachments_retire(VencAttachments *attachments, guint slot) {
  attachments->slots[slot].detach = TRUE;
}
guint venc_attachments_count(const VencAttachments *attachments);
void venc_attachments_on_attached(VencSession *session, const vsockenc_Attached *attached);
void venc_attachments_on_error(VencSession *session, guint32 buffer, const gchar *text);

/*
 * How pixels reach the host: as resources, which it reads in place, or inline, behind each
 * Frame (proto/PROTOCOL.md, "Buffers" and "Frames").
 *
 * Inline is for a guest without a virtio-gpu and for a host without an exporter. The host reports
 * it in Welcome or by refusing an Attach. Either may change soon (its exporter is being started),
 * so a frame that is in a resource is offered again with another Attach every few seconds, and goes
 * inline if that is refused too. No frame is lost: a Frame waits for the answer to its Attach.
 *
 * Frames that the CPU cannot read never go inline. If the host has read one before, its exporter is
 * expected back, and they wait; if not, the session fails, as the set-up is wrong.
 */
typedef struct {
  /* Why resources are not used at present, and when to ask again; NULL: they are. */
  gchar *refusal;
  gint64 ask_again_at;
  gboolean was_resource; /* the host has read a frame in a resource */
  gboolean waiting;      /* for the exporter, which has been reported */
  /* The pixels being sent, all of them before the next frame. `pixels` is NULL once the host needs
   * them no more: then zeros follow, as it has been promised that many bytes. */
  guint32 frame, size, sent;
  const VencPixels *pixels;
  vsockenc_SourceTier tier; /* of the last frame that was read, */
  gboolean copied;          /* and whether it had been copied */
  guint64 frames_inline, pixel_bytes_sent;
} VencSource;

void venc_source_end_epoch(VencSource *source);
void venc_source_opened(VencSource *source, const vsockenc_Welcome *welcome);
static inline void venc_source_accept(VencSource *source) {
  g_clear_pointer(&source->refusal, g_free);
  source->waiting = FALSE;
}
void venc_source_refuse(VencSource *source, const gchar *text);
/* Whether a frame that the CPU cannot read waits for the exporter; FALSE: there will be none. */
gboolean venc_source_waits(VencSession *session);
gboolean venc_source_is_inline(const VencSession *session, const VencFrame *frame);
/* Begins to send the frame's pixels, behind its Frame. */
void venc_source_begin_pixels(VencSource *source, const VencFrame *frame, const VencPixels *pixels);
/* Sends what there is credit for; TRUE when nothing is left. */
gboolean venc_source_send_pixels(VencSession *session);
/* The host needs the frame's pixels no more. */
static inline void venc_source_release_pixels(VencSource *source, const VencFrame *frame) {
  if (frame->state != VENC_FRAME_QUEUED && frame->number == source->frame) source->pixels = NULL;
}
static inline void venc_source_was_read(VencSource *source, vsockenc_SourceTier tier,
                                        gboolean copied) {
  source->tier = tier;
  source->was_resource |= tier != vsockenc_SourceTier_INLINE;
  source->copied = copied;
}

/* Frames that have no last answer yet: when each may be sent, and whose turn it is. */
typedef struct {
  GQueue frames;       /* oldest first */
  guint limit;         /* of frames in flight, the host's */
  guint32 last_number; /* wraps, as do sequence numbers and serials */
  guint64 last_pts;    /* on the wire, */
  gboolean has_pts;    /* if a frame has been sent in this epoch */
  gint64 pts_shift;    /* wire time minus stream time; grows when the stream jumps back */
  gboolean force_next_key;
  guint draining; /* threads waiting for everything to be out */
  gboolean drain_sent;
  guint64 frame_bytes;
} VencSending;

void venc_sending_end_epoch(VencSending *sending);
static inline void venc_sending_opened(VencSending *sending, const vsockenc_Welcome *welcome) {
  sending->limit = CLAMP(welcome->max_in_flight, 1, VSOCKENC_MAX_IN_FLIGHT_FRAMES);
}
/* The host is lost: frames that must not be lost wait for the next one, others are dropped. */
void venc_sending_lost(VencSession *session);
/* Sends everything that may be sent. */
void venc_sending_pump(VencSession *session);
/* The oldest frame that the host may still be reading, or NULL. */
const VencFrame *venc_sending_oldest_unread(const VencSending *sending);
/* The frame that was sent with this number, or NULL. */
VencFrame *venc_sending_find(const VencSending *sending, guint32 number);
/* The frame that must be answered next if that is its number, or NULL. */
const VencFrame *venc_sending_answered(const VencSending *sending, guint32 number);
/* Removes that frame. */
static inline VencFrame *venc_sending_pop(VencSending *sending) {
  return g_queue_pop_head(&sending->frames);
}
void venc_sending_on_frame_done(VencSession *session, guint32 number);

/*
 * Asks the host for the checksum of a buffer (proto/PROTOCOL.md, "Probe"): the whole path of the
 * pixels, without an encoder. One thread asks at a time; if the session is lost it is asked again.
 */
typedef struct {
  const VencFrame *frame; /* whose buffer is asked about; NULL: none is */
  gboolean sent;
  VencProbe result;
  GError *error;
} VencProbing;

static inline void venc_probing_end_epoch(VencProbing *probing) {
  probing->sent = FALSE;
}
/* Attaches the buffer if need be, and asks. */
void venc_probing_pump(VencSession *session);
/* The host refuses the buffer; FALSE: it was not asked about. */
gboolean venc_probing_refused(VencSession *session, guint buffer, const gchar *text);
void venc_probing_on_probed(VencSession *session, const vsockenc_Probed *probed);

/*
 * The host's messages, and the outputs made of them. The guest trusts the host as little as the
 * host trusts the guest: every number is checked against what was sent, and a message that breaks a
 * rule of proto/PROTOCOL.md ends the session.
 */
typedef struct {
  GQueue outputs;
  gboolean busy; /* an output has been popped and is being pushed */
  /* The access unit being received, and the Packet that announced it. */
  guint8 *unit;
  gsize received;
  vsockenc_Packet packet;
} VencReceiving;

void venc_receiving_clear(VencReceiving *receiving);
static inline void venc_receiving_end_epoch(VencReceiving *receiving) {
  g_clear_pointer(&receiving->unit, g_free);
}
/* Acts on every whole message that the connection has. */
void venc_receiving_pump(VencSession *session);
/* An output about the session, and one for a frame that was taken out of the sending ones. */
void venc_receiving_notify(VencSession *session, VencOutputKind kind, gint code, const gchar *text);
void venc_receiving_drop(VencSession *session, VencFrame *frame, VencDropCause cause);
/* Forgets the outputs of frames. */
void venc_receiving_flush(VencSession *session);
/* Outputs that are not out yet, the popped one included. */
static inline guint venc_receiving_pending(const VencReceiving *receiving) {
  return receiving->outputs.length + (receiving->busy ? 1 : 0);
}

/* Counts of encoded and dropped frames, and the durations of each stage. */
#define VENC_SAMPLES 1024u

typedef struct {
  guint64 packets, key_frames;
  guint64 dropped[VENC_DROP_CAUSES];
  guint64 n_samples; /* of each stage; the last VENC_SAMPLES are kept */
  guint32 samples[VENC_STAGES][VENC_SAMPLES];
} VencCounters;

void venc_counters_add_packet(VencCounters *counters, const vsockenc_Packet *packet,
                              gint64 round_trip_us, gboolean discarded);
static inline void venc_counters_add_drop(VencCounters *counters, VencDropCause cause) {
  counters->dropped[cause]++;
}

struct _VencSession {
  GMutex lock;
  GCond changed;
  GThread *thread;
  int wake;   /* eventfd: makes the I/O thread look at the state again */
  int cancel; /* eventfd: readable while `interrupted` */
  gboolean closing, interrupted;
  GError *failure;     /* set once: the session has given up */
  GPtrArray *unwanted; /* VencFrame, freed once the lock is released */

  gboolean lossless, fail_on_loss;
  guint max_in_flight;
  gboolean was_open;  /* a loss of it is worth a warning */
  gboolean announced; /* that warning has been given; BACK follows */
  /* The host opens, and refuses: first time without success in between, and last time. */
  gint64 refused_since, refused_last;

  VencConnection connection;
  VencNegotiation negotiation;
  VencAttachments attachments;
  VencSending sending;
  VencSource source;
  VencProbing probing;
  VencReceiving receiving;
  VencCounters counters;
};

/* Until the scope ends: g_autoptr(VencLocked) locked = venc_session_lock(session). */
typedef VencSession VencLocked;
VencLocked *venc_session_lock(VencSession *session);
/* Also frees what is in `unwanted`, after the lock has been released. */
void venc_session_unlock(VencSession *session);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VencLocked, venc_session_unlock)
void venc_session_wake(VencSession *session);
/* TRUE when something other than the awaited change ends a wait. */
gboolean venc_session_wait_is_over(const VencSession *session, VencResult *result);
/* Releases the frame's pixels, or frees all of it, once the lock is released. */
void venc_session_release_pixels(VencSession *session, VencFrame *frame);
void venc_session_free_later(VencSession *session, VencFrame *frame);

/* Ends the epoch in every part. */
void venc_session_end_epoch(VencSession *session);
/* The session is open, or its host has encoded a frame. */
void venc_session_opened(VencSession *session);
void venc_session_succeeded(VencSession *session);
/* The session is lost: the I/O thread opens it again. */
void venc_session_lose(VencSession *session, const gchar *format, ...) G_GNUC_PRINTF(2, 3);
/* Like lose, but the host is there and does not want the session: gives up after a while. */
void venc_session_refused(VencSession *session, gint code, const gchar *text);
/* The host broke a rule of the protocol. */
void venc_session_violated(VencSession *session, const gchar *what);
void venc_session_give_up(VencSession *session, gint code, const gchar *text);

/* session-thread.c: the I/O thread. */
gpointer venc_session_run(gpointer session);

#endif
