/*
 * The session's I/O thread: opens the link, opens the session on it, notices that it is lost, and
 * begins again. See proto/PROTOCOL.md, "Opening".
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "session-private.h"

#define FIRST_BACKOFF_MS 50u
#define LAST_BACKOFF_MS 500u
/* How often to look whether somebody has come to the other end of a port. */
#define PORT_LOOK_MS 100u
/* A host that refuses what the stream needs may be starting: try that long before giving up. */
#define REFUSAL_TIME_US (5 * G_TIME_SPAN_SECOND)
/* Mapping a large buffer takes the host milliseconds; a host that answers Ping alone is ill. */
#define ATTACH_TIMEOUT_US (5 * G_TIME_SPAN_SECOND)
/* The kernel would try for minutes to reach a host that does not answer. */
#define CONNECT_TIMEOUT_US (3 * G_TIME_SPAN_SECOND)
#define MS(n) ((gint64)(n)*G_TIME_SPAN_MILLISECOND)

void venc_session_wake(VencSession *session) {
  const guint64 one = 1;
  /* The counter cannot overflow in practice, and if it did the thread would be awake anyway. */
  if (write(session->wake, &one, sizeof one) < 0) return;
}

void venc_session_give_up(VencSession *session, gint code, const gchar *text) {
  if (session->failure) return;
  g_autofree gchar *valid = g_utf8_make_valid(text, -1);
  session->failure = g_error_new_literal(VENC_ERROR, code, valid);
  venc_session_push_output(session, VENC_OUTPUT_FAILED, code, text);
}

/* Frames lose their host: those that must not be lost wait for the next one. */
static void give_frames_back(VencSession *session) {
  for (GList *at = session->frames.head, *next; at; at = next) {
    VencFrame *frame = at->data;
    next = at->next;
    if (session->lossless && !frame->discard) {
      frame->state = VENC_FRAME_QUEUED;
      continue;
    }
    g_queue_delete_link(&session->frames, at);
    venc_session_push_dropped(session, frame, VENC_DROPPED_DISCONNECTED);
  }
}

/* Nothing of the present epoch counts any longer. */
static void end_epoch(VencSession *session) {
  session->epoch = 0;
  session->sequence_in = session->sequence_out = 0;
  g_byte_array_set_size(session->out, 0);
  session->bulk_sent = session->bulk_allowed = 0;
  session->bulk_received = session->bulk_granted = 0;
  session->configuration_changed = session->has_configuration;
  session->configuration_pending = FALSE;
  session->has_accepted = FALSE;
  session->serial = 0;
  session->next_frame = 0;
  session->pts_shift = 0;
  session->drain_sent = FALSE;
  session->force_next_key = TRUE;
  memset(session->slots, 0, sizeof session->slots);
  session->asked_at = 0;
  session->probe_sent = FALSE;
  session->pixels = NULL;
  session->pixels_frame = session->pixels_size = session->pixels_sent = 0;
  g_clear_pointer(&session->unit, g_free);
}

void venc_session_lose(VencSession *session, gint64 now, const gchar *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  g_autofree gchar *reason = g_strdup_vprintf(format, arguments);
  va_end(arguments);

  end_epoch(session);
  give_frames_back(session);
  if (!session->link.port) venc_link_close(&session->link);
  session->state = VENC_STATE_CLOSED;
  session->retry_at = now + MS(session->backoff_ms);
  session->backoff_ms = CLAMP(session->backoff_ms * 2, FIRST_BACKOFF_MS, LAST_BACKOFF_MS);
  if (session->was_open) {
    if (session->fail_on_loss)
      venc_session_give_up(session, VENC_ERROR_LOST, reason);
    else if (!session->announce)
      venc_session_push_output(session, VENC_OUTPUT_LOST, VENC_ERROR_LOST, reason);
    session->announce = TRUE;
    session->was_open = FALSE;
  }
  g_cond_broadcast(&session->changed);
}

void venc_session_refused(VencSession *session, gint64 now, gint code, const gchar *text) {
  if (session->refused_since == 0 || now - session->refused_last > REFUSAL_TIME_US)
    session->refused_since = now;
  session->refused_last = now;
  if (now - session->refused_since >= REFUSAL_TIME_US) venc_session_give_up(session, code, text);
  venc_session_lose(session, now, "%s", text);
}

static guint32 random_epoch(void) {
  guint32 epoch = 0;
  while (epoch == 0)
    if (getrandom(&epoch, sizeof epoch, GRND_NONBLOCK) != sizeof epoch) epoch = g_random_int();
  return epoch;
}

/* Opens the link if there is none, and says Hello. */
static void try_opening(VencSession *session, gint64 now) {
  g_autoptr(GError) error = NULL;
  if (session->link.fd < 0) {
    if (!venc_link_open(&session->link, &session->address, &error)) {
      g_clear_error(&session->link_error);
      session->link_error = g_steal_pointer(&error);
      session->retry_at = now + MS(session->backoff_ms);
      session->backoff_ms = CLAMP(session->backoff_ms * 2, FIRST_BACKOFF_MS, LAST_BACKOFF_MS);
      g_cond_broadcast(&session->changed);
      return;
    }
    venc_parser_reset(&session->parser);
    session->opened_at = now;
  }
  /* A socket connects only now: what went wrong the last time may go wrong again. */
  if (session->link.port) g_clear_error(&session->link_error);
  end_epoch(session);
  session->epoch = random_epoch();
  session->state = VENC_STATE_OPENING;
  session->last_received = now;
  session->hellos = 0;
  venc_session_send_hello(session, now);
}

/* The oldest frame that the host may still be reading. */
static VencFrame *oldest_unread(VencSession *session) {
  for (GList *at = session->frames.head; at; at = at->next)
    if (((VencFrame *)at->data)->state == VENC_FRAME_SENT) return at->data;
  return NULL;
}

static gboolean is_readable(VencSession *session) {
  struct pollfd fd = {.fd = session->link.fd, .events = POLLIN};
  return poll(&fd, 1, 0) > 0 && (fd.revents & POLLIN) && !(fd.revents & POLLHUP);
}

/* Does what is due while open; returns when the next thing is. */
static gint64 keep_open(VencSession *session, gint64 now) {
  VencFrame *unread = oldest_unread(session);
  gint64 ping_at = session->last_sent + MS(VSOCKENC_PING_INTERVAL_MS);
  gint64 silent_at = session->last_received + MS(VSOCKENC_SILENCE_MS);

  if (unread) {
    /* Pings come as seldom as the time-out lasts, so a slow host is asked for a sign of life. */
    gint64 waiting_since = MAX(unread->sent_at, session->last_received);
    ping_at =
        MIN(ping_at, MAX(waiting_since, session->ping_at) + MS(VSOCKENC_FRAME_DONE_TIMEOUT_MS) / 3);
    silent_at = MIN(silent_at, waiting_since + MS(VSOCKENC_FRAME_DONE_TIMEOUT_MS));
  }
  if (session->asked_at > 0) silent_at = MIN(silent_at, session->asked_at + ATTACH_TIMEOUT_US);
  /* On a busy machine it may be this thread that was late, not the host. */
  if (now >= silent_at && !is_readable(session)) {
    venc_session_lose(session, now, "the host has been silent for %d ms%s",
                      (int)((now - session->last_received) / G_TIME_SPAN_MILLISECOND),
                      unread              ? " with a frame to read"
                      : session->asked_at ? " about a buffer"
                                          : "");
    return now;
  }
  if (now >= ping_at) {
    venc_session_send_ping(session, now);
    ping_at = now + MS(VSOCKENC_FRAME_DONE_TIMEOUT_MS) / 3;
  }
  return MIN(ping_at, silent_at);
}

/* The link is of no use any more; `link.reason` says why. */
static void link_ended(VencSession *session, gint64 now) {
  g_clear_error(&session->link_error);
  venc_link_set_error(&session->link, &session->link_error);
  g_autofree gchar *text = g_strdup(session->link_error->message);
  venc_link_close(&session->link);
  venc_session_lose(session, now, "%s", text);
}

/* Acts on the state; returns when to look again at the latest. */
static gint64 step(VencSession *session, gint64 now) {
  switch (session->state) {
    case VENC_STATE_CLOSED:
      if (session->failure) return now + G_TIME_SPAN_SECOND;
      if (now >= session->retry_at) try_opening(session, now);
      return session->state == VENC_STATE_CLOSED ? session->retry_at : session->hello_at;
    case VENC_STATE_OPENING:
      if (session->link.connecting && now >= session->opened_at + CONNECT_TIMEOUT_US) {
        session->link.reason = ETIMEDOUT;
        link_ended(session, now);
        return session->retry_at;
      }
      if (now < session->hello_at) return session->hello_at;
      /* While nobody reads, one Hello is enough. */
      if (session->out->len == 0)
        venc_session_send_hello(session, now);
      else
        session->hello_at = now + MS(VSOCKENC_HELLO_INTERVAL_MS);
      return session->hello_at;
    case VENC_STATE_OPEN: {
      venc_session_pump(session, now);
      gint64 next = keep_open(session, now);
      if (session->out->len > VENC_OUT_LIMIT)
        venc_session_lose(session, now, "the host does not read");
      return next;
    }
  }
  g_assert_not_reached();
}

static void write_out(VencSession *session, gint64 now) {
  while (session->out->len > 0 && session->link.fd >= 0) {
    gsize size = MIN(session->out->len, VSOCKENC_MAX_MESSAGE_BYTES);
    gssize n = venc_link_write(&session->link, session->out->data, size);
    if (n == 0) return;
    if (n < 0) {
      link_ended(session, now);
      return;
    }
    session->statistics.bytes_sent += (guint64)n;
    g_byte_array_remove_range(session->out, 0, (guint)n);
  }
}

/* Reads what there is, bounded so that the thread comes round to its other work. */
static void read_in(VencSession *session, gint64 now) {
  for (guint rounds = 0; rounds < 16 && session->link.fd >= 0; rounds++) {
    gsize room;
    guint8 *space = venc_parser_space(&session->parser, &room);
    gssize n = venc_link_read(&session->link, space, room);
    if (n == 0) return;
    if (n < 0) {
      link_ended(session, now);
      return;
    }
    session->statistics.bytes_received += (guint64)n;
    venc_parser_commit(&session->parser, (gsize)n);
    venc_session_receive(session, now);
  }
}

/* Waits for the link, a call from another thread, or `until`. */
static short wait_for_work(VencSession *session, gint64 until, gboolean deaf) {
  struct pollfd fds[2] = {
      {.fd = session->wake, .events = POLLIN},
      {.fd = deaf ? -1 : session->link.fd,
       .events = (short)(POLLIN | (session->out->len > 0 ? POLLOUT : 0))},
  };
  guint64 count;

  venc_session_unlock(session);
  gint64 left = MAX(until - g_get_monotonic_time(), 0);
  int ready = poll(fds, G_N_ELEMENTS(fds), (int)MIN((left + 999) / 1000, 1000));
  if (ready > 0 && (fds[0].revents & POLLIN) && read(session->wake, &count, sizeof count) < 0)
    fds[0].revents = 0; /* another wake-up took it */
  venc_session_lock(session);
  return ready > 0 ? fds[1].revents : 0;
}

gpointer venc_session_run(gpointer data) {
  VencSession *session = data;
  gint64 look_again_at = 0;

  venc_session_lock(session);
  session->backoff_ms = FIRST_BACKOFF_MS;
  while (!session->closing) {
    gint64 now = g_get_monotonic_time();
    gboolean deaf = now < look_again_at;
    gint64 until = step(session, now);
    if (!deaf) write_out(session, now);
    if (deaf) until = MIN(until, look_again_at);
    short events = wait_for_work(session, until, deaf);
    now = g_get_monotonic_time();
    /* Readable data comes before the end: a host may say why it goes. */
    if (events & (POLLIN | POLLHUP | POLLERR)) read_in(session, now);
    /* With nobody at the other end of a port poll() returns at once, for ever. */
    if ((events & POLLHUP) && session->link.port) {
      look_again_at = now + MS(PORT_LOOK_MS);
      if (session->state == VENC_STATE_OPEN)
        venc_session_lose(session, now, "the host has closed %s", session->link.name);
    }
  }
  if (session->state == VENC_STATE_OPEN) {
    venc_session_send_bye(session, g_get_monotonic_time());
    write_out(session, g_get_monotonic_time());
  }
  venc_link_close(&session->link);
  end_epoch(session);
  venc_session_unlock(session);
  return NULL;
}
