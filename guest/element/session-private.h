/*
 * The session and its parts. Each part is a struct of its own, whose fields only the part's own
 * file writes: other files read them or call its functions. Functions of a part take the part if
 * they concern it alone, and the session if other parts are involved. A part's header includes no
 * other part's.
 *
 * Threads and the lock, for all parts: `lock` guards every field, and every function of a part
 * needs it. One I/O thread (session-thread.c) opens, reads, writes and closes the link; other
 * threads change the state and call venc_session_wake(). Every change that a wait may be for is
 * announced with `changed`. The caller's functions (release, free_user) run without the lock: what
 * they free waits in `unwanted` for venc_session_unlock(). Only `map` of a frame runs with it held.
 */
#ifndef VSOCKENC_SESSION_PRIVATE_H
#define VSOCKENC_SESSION_PRIVATE_H

#include "session-attachments.h"
#include "session-connection.h"
#include "session-negotiation.h"
#include "session-probe.h"
#include "session-receiving.h"
#include "session-sending.h"
#include "session-source.h"
#include "session-statistics.h"

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
