#include "session-private.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* A host that refuses what the stream needs may be starting: try that long before giving up. */
#define REFUSAL_TIME_US (5 * G_TIME_SPAN_SECOND)

void venc_frame_free(VencFrame *frame) {
  if (!frame) return;
  if (frame->hold) frame->release(frame->hold);
  if (frame->user && frame->free_user) frame->free_user(frame->user);
  g_free(frame);
}

void venc_output_free(VencOutput *output) {
  if (!output) return;
  venc_frame_free(output->frame);
  g_free(output->bytes);
  g_free(output->text);
  g_free(output);
}

static GPtrArray *new_unwanted(void) {
  return g_ptr_array_new_with_free_func((GDestroyNotify)venc_frame_free);
}

VencSession *venc_session_new(const VencAddress *address, const gchar *software) {
  VencSession *session = g_new0(VencSession, 1);
  g_mutex_init(&session->lock);
  g_cond_init(&session->changed);
  session->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  session->cancel = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  session->lossless = TRUE;
  session->max_in_flight = VSOCKENC_DEFAULT_IN_FLIGHT_FRAMES;
  session->unwanted = new_unwanted();
  venc_connection_init(&session->connection, address, software);
  return session;
}

void venc_session_free(VencSession *session) {
  if (!session) return;
  venc_session_lock(session);
  session->closing = TRUE;
  g_cond_broadcast(&session->changed);
  venc_session_unlock(session);
  venc_session_wake(session);
  if (session->thread) g_thread_join(session->thread);
  g_queue_clear_full(&session->sending.frames, (GDestroyNotify)venc_frame_free);
  venc_receiving_clear(&session->receiving);
  venc_connection_clear(&session->connection);
  g_free(session->source.refusal);
  g_clear_error(&session->negotiation.error);
  g_clear_error(&session->probing.error);
  g_ptr_array_unref(session->unwanted);
  g_clear_error(&session->failure);
  if (session->wake >= 0) close(session->wake);
  if (session->cancel >= 0) close(session->cancel);
  g_mutex_clear(&session->lock);
  g_cond_clear(&session->changed);
  g_free(session);
}

VencLocked *venc_session_lock(VencSession *session) {
  g_mutex_lock(&session->lock);
  return session;
}

void venc_session_unlock(VencSession *session) {
  g_autoptr(GPtrArray) unwanted = NULL;
  if (session->unwanted->len > 0) {
    unwanted = session->unwanted;
    session->unwanted = new_unwanted();
  }
  g_mutex_unlock(&session->lock);
}

void venc_session_wake(VencSession *session) {
  const guint64 one = 1;
  /* The counter cannot overflow in practice, and if it did the thread would be awake anyway. */
  if (write(session->wake, &one, sizeof one) < 0) return;
}

gboolean venc_session_wait_is_over(const VencSession *session, VencResult *result) {
  if (session->failure)
    *result = VENC_FAILED;
  else if (session->interrupted || session->closing)
    *result = VENC_INTERRUPTED;
  else
    return FALSE;
  return TRUE;
}

void venc_session_release_pixels(VencSession *session, VencFrame *frame) {
  if (!frame->hold) return;
  venc_source_release_pixels(&session->source, frame);
  VencFrame *shell = g_new0(VencFrame, 1);
  shell->hold = g_steal_pointer(&frame->hold);
  shell->release = frame->release;
  venc_session_free_later(session, shell);
}

void venc_session_free_later(VencSession *session, VencFrame *frame) {
  g_ptr_array_add(session->unwanted, frame);
}

void venc_session_end_epoch(VencSession *session) {
  venc_connection_end_epoch(&session->connection);
  venc_negotiation_end_epoch(&session->negotiation);
  venc_attachments_end_epoch(&session->attachments);
  venc_sending_end_epoch(&session->sending);
  venc_source_end_epoch(&session->source);
  venc_probing_end_epoch(&session->probing);
  venc_receiving_end_epoch(&session->receiving);
}

void venc_session_opened(VencSession *session) {
  session->was_open = TRUE;
  if (session->announced) venc_receiving_notify(session, VENC_OUTPUT_BACK, 0, NULL);
  session->announced = FALSE;
  g_cond_broadcast(&session->changed);
}

void venc_session_succeeded(VencSession *session) {
  session->refused_since = 0;
}

void venc_session_give_up(VencSession *session, gint code, const gchar *text) {
  if (session->failure) return;
  g_autofree gchar *valid = g_utf8_make_valid(text, -1);
  session->failure = g_error_new_literal(VENC_ERROR, code, valid);
  venc_receiving_notify(session, VENC_OUTPUT_FAILED, code, text);
}

void venc_session_lose(VencSession *session, const gchar *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  g_autofree gchar *reason = g_strdup_vprintf(format, arguments);
  va_end(arguments);

  venc_session_end_epoch(session);
  venc_sending_lost(session);
  venc_connection_lost(&session->connection);
  if (session->was_open) {
    if (session->fail_on_loss)
      venc_session_give_up(session, VENC_ERROR_LOST, reason);
    else if (!session->announced)
      venc_receiving_notify(session, VENC_OUTPUT_LOST, VENC_ERROR_LOST, reason);
    session->announced = TRUE;
    session->was_open = FALSE;
  }
  g_cond_broadcast(&session->changed);
}

void venc_session_refused(VencSession *session, gint code, const gchar *text) {
  gint64 now = g_get_monotonic_time();
  if (session->refused_since == 0 || now - session->refused_last > REFUSAL_TIME_US)
    session->refused_since = now;
  session->refused_last = now;
  if (now - session->refused_since >= REFUSAL_TIME_US) venc_session_give_up(session, code, text);
  venc_session_lose(session, "%s", text);
}

void venc_session_violated(VencSession *session, const gchar *what) {
  g_autofree gchar *text = g_strdup_printf("the host broke the protocol: %s", what);
  venc_connection_send_error(&session->connection, what);
  venc_session_refused(session, VENC_ERROR_REFUSED, text);
}

gboolean venc_session_open(VencSession *session, guint timeout_ms, GError **error) {
  const VencConnection *connection = &session->connection;
  gboolean is_socket = venc_address_is_socket(&connection->address);
  gint64 deadline = g_get_monotonic_time() + VENC_MS(timeout_ms);

  session->thread = g_thread_try_new("vsockenc-io", venc_session_run, session, error);
  if (!session->thread) return FALSE;
  g_autoptr(VencLocked) locked = venc_session_lock(session);
  while (connection->state != VENC_STATE_OPEN && !session->failure) {
    /* Neither of these mends itself while one waits. */
    gboolean hopeless = connection->error && !is_socket &&
                        (g_error_matches(connection->error, VENC_ERROR, VENC_ERROR_NOT_FOUND) ||
                         g_error_matches(connection->error, VENC_ERROR, VENC_ERROR_PERMISSION));
    if (hopeless || !g_cond_wait_until(&session->changed, &session->lock, deadline)) break;
  }
  gboolean opened = connection->state == VENC_STATE_OPEN && !session->failure;
  if (session->failure) {
    g_propagate_error(error, g_error_copy(session->failure));
  } else if (!opened && connection->error) {
    g_propagate_error(error, g_error_copy(connection->error));
    if (is_socket && !g_error_matches(connection->error, VENC_ERROR, VENC_ERROR_REFUSED))
      g_prefix_error(error, "no relay answered within %u ms; is `vsockenc relay` running? ",
                     timeout_ms);
  } else if (!opened && is_socket) {
    g_set_error(error, VENC_ERROR, VENC_ERROR_NO_ANSWER,
                "no relay answered at %s within %u ms; is `vsockenc relay` running?",
                connection->link.name, timeout_ms);
  } else if (!opened) {
    g_set_error(error, VENC_ERROR, VENC_ERROR_NO_ANSWER,
                "%s is open, but no relay answered within %u ms. Start `vsockenc relay` on the "
                "host and see that its link names this port's socket",
                connection->link.name ? connection->link.name : "the port", timeout_ms);
  }
  return opened;
}

void venc_session_set_mode(VencSession *session, gboolean lossless, gboolean fail_on_loss,
                           guint max_in_flight) {
  g_autoptr(VencLocked) locked = venc_session_lock(session);
  session->lossless = lossless;
  session->fail_on_loss = fail_on_loss;
  session->max_in_flight = CLAMP(max_in_flight, 1, VSOCKENC_MAX_IN_FLIGHT_FRAMES);
}

void venc_session_interrupt(VencSession *session, gboolean interrupted) {
  g_autoptr(VencLocked) locked = venc_session_lock(session);
  guint64 count = 1;
  /* Neither can fail in a way that matters: the counter is 0 or not. */
  ssize_t done = interrupted ? write(session->cancel, &count, sizeof count)
                             : read(session->cancel, &count, sizeof count);
  (void)done;
  session->interrupted = interrupted;
  g_cond_broadcast(&session->changed);
}

VencResult venc_session_wait_readable(VencSession *session, int fd, gint64 deadline) {
  struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = session->cancel, .events = POLLIN}};
  gint64 left = MAX(deadline - g_get_monotonic_time(), 0);
  int ready = poll(fds, G_N_ELEMENTS(fds), (int)((left + 999) / 1000));
  if (ready > 0 && fds[1].revents) return VENC_INTERRUPTED;
  /* Any other event of `fd` would not change by waiting longer. */
  return ready == 0 ? VENC_FAILED : VENC_OK;
}

gchar *venc_session_dup_transport(VencSession *session) {
  g_autoptr(VencLocked) locked = venc_session_lock(session);
  return g_strdup(session->connection.link.name);
}
