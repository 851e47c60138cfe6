/*
 * The session's I/O thread: opens the link, opens the session on it, notices that it is lost, and
 * begins again. See proto/PROTOCOL.md, "Opening".
 */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "session-private.h"

/* Unsent bytes beyond this mean that the peer does not read. */
#define OUT_LIMIT \
  (VSOCKENC_FLUSH_NULS + VSOCKENC_GUEST_WINDOW_BYTES + VSOCKENC_CONTROL_RESERVE_BYTES)
/* How often to look whether a host has come to the other end of a port. */
#define PORT_LOOK_MS 100u
/* Mapping a large buffer takes the host milliseconds; a host that answers Ping alone is ill. */
#define ATTACH_TIMEOUT_US (5 * G_TIME_SPAN_SECOND)
/* The kernel would try for minutes to reach a host that does not answer. */
#define CONNECT_TIMEOUT_US (3 * G_TIME_SPAN_SECOND)
/* Between two looks at the state a bounded number of reads. */
#define MAX_READS 16u

static void link_ended(VencSession *session, int reason) {
  venc_connection_end_link(&session->connection, reason);
  venc_session_lose(session, "%s", session->connection.error->message);
}

/* Opens the link if it is closed, and sends the first Hello. */
static void try_opening(VencSession *session) {
  if (venc_connection_open_link(&session->connection)) {
    venc_session_end_epoch(session);
    venc_connection_begin_epoch(&session->connection);
  }
  g_cond_broadcast(&session->changed);
}

static gboolean is_readable(int link) {
  struct pollfd fd = {.fd = link, .events = POLLIN};
  return poll(&fd, 1, 0) > 0 && (fd.revents & POLLIN) && !(fd.revents & POLLHUP);
}

/* Does what is due while open; returns when the next thing is. */
static gint64 keep_open(VencSession *session, gint64 now) {
  const VencConnection *connection = &session->connection;
  const VencFrame *unread = venc_sending_oldest_unread(&session->sending);
  gint64 asked_at = session->attachments.asked_at;
  gint64 ping_at = connection->last_sent + VENC_MS(VSOCKENC_PING_INTERVAL_MS);
  gint64 silent_at = connection->last_received + VENC_MS(VSOCKENC_SILENCE_MS);

  if (unread) {
    /* Pings come as seldom as the time-out lasts, so a slow host is asked for a sign of life. */
    gint64 waiting_since = MAX(unread->sent_at, connection->last_received);
    gint64 ping_since = MAX(waiting_since, connection->ping_at);
    ping_at = MIN(ping_at, ping_since + VENC_MS(VSOCKENC_FRAME_DONE_TIMEOUT_MS) / 3);
    silent_at = MIN(silent_at, waiting_since + VENC_MS(VSOCKENC_FRAME_DONE_TIMEOUT_MS));
  }
  if (asked_at > 0) silent_at = MIN(silent_at, asked_at + ATTACH_TIMEOUT_US);
  /* On a busy machine it may be this thread that was late, not the host. */
  if (now >= silent_at && !is_readable(connection->link.fd)) {
    venc_session_lose(session, "the host has been silent for %d ms%s",
                      (int)((now - connection->last_received) / G_TIME_SPAN_MILLISECOND),
                      unread     ? " with a frame to read"
                      : asked_at ? " about a buffer"
                                 : "");
    return now;
  }
  if (now >= ping_at) {
    venc_connection_send_ping(&session->connection);
    ping_at = now + VENC_MS(VSOCKENC_FRAME_DONE_TIMEOUT_MS) / 3;
  }
  return MIN(ping_at, silent_at);
}

/* Acts on the state; returns when to look again at the latest. */
static gint64 step(VencSession *session, gint64 now) {
  const VencConnection *connection = &session->connection;
  switch (connection->state) {
    case VENC_STATE_CLOSED:
      if (session->failure) return now + G_TIME_SPAN_SECOND;
      if (now >= connection->retry_at) try_opening(session);
      return connection->state == VENC_STATE_CLOSED ? connection->retry_at : connection->hello_at;
    case VENC_STATE_OPENING:
      if (connection->link.connecting && now >= connection->link_opened_at + CONNECT_TIMEOUT_US) {
        link_ended(session, ETIMEDOUT);
        return connection->retry_at;
      }
      if (now >= connection->hello_at) venc_connection_repeat_hello(&session->connection);
      return connection->hello_at;
    case VENC_STATE_OPEN: {
      venc_sending_pump(session);
      gint64 next = keep_open(session, g_get_monotonic_time());
      if (connection->out->len > OUT_LIMIT) venc_session_lose(session, "the host does not read");
      return next;
    }
  }
  g_assert_not_reached();
}

static void read_in(VencSession *session) {
  VencConnection *connection = &session->connection;
  for (guint reads = 0; reads < MAX_READS && connection->link.fd >= 0; reads++) {
    gssize n = venc_connection_read(connection);
    if (n < 0) link_ended(session, connection->link.reason);
    if (n <= 0) return;
    venc_receiving_pump(session);
  }
}

/* Waits for the link (unless `deaf`), a call of venc_session_wake(), or `until`. */
static short wait_for_work(VencSession *session, gint64 until, gboolean deaf) {
  const VencConnection *connection = &session->connection;
  struct pollfd fds[2] = {
      {.fd = session->wake, .events = POLLIN},
      {.fd = deaf ? -1 : connection->link.fd,
       .events = (short)(POLLIN | (connection->out->len > 0 ? POLLOUT : 0))},
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
  VencConnection *connection = &session->connection;
  gint64 look_again_at = 0;

  venc_session_lock(session);
  while (!session->closing) {
    gint64 now = g_get_monotonic_time();
    gboolean deaf = now < look_again_at;
    gint64 until = step(session, now);
    if (!deaf && !venc_connection_write(connection)) link_ended(session, connection->link.reason);
    if (deaf) until = MIN(until, look_again_at);
    short events = wait_for_work(session, until, deaf);
    /* Readable data comes before the end: a host may have sent why it goes. */
    if (events & (POLLIN | POLLHUP | POLLERR)) read_in(session);
    /* With no host at the other end of a port poll() always returns at once. */
    if ((events & POLLHUP) && connection->link.port) {
      look_again_at = g_get_monotonic_time() + VENC_MS(PORT_LOOK_MS);
      if (connection->state == VENC_STATE_OPEN)
        venc_session_lose(session, "the host has closed %s", connection->link.name);
    }
  }
  if (connection->state == VENC_STATE_OPEN) {
    venc_connection_begin(connection, vsockenc_MessageType_BYE);
    venc_connection_send(connection);
    venc_connection_write(connection);
  }
  venc_session_end_epoch(session);
  venc_session_unlock(session);
  return NULL;
}
