/*
 * Asking the host what it reads in a buffer (proto/PROTOCOL.md, "Probe"): the whole way of the
 * pixels, without an encoder. One thread asks at a time; if the session is lost it is asked again.
 */
#include "session-private.h"

gboolean venc_session_probe(VencSession *session, const VencFrame *frame, guint timeout_ms,
                            VencProbe *result, GError **error) {
  gint64 deadline = g_get_monotonic_time() + timeout_ms * G_TIME_SPAN_MILLISECOND;

  venc_session_lock(session);
  session->probe = (VencProbe){0};
  session->probe_frame = frame;
  session->probe_sent = FALSE;
  g_clear_error(&session->probe_error);
  venc_session_wake(session);
  while (session->probe_frame && !session->failure &&
         g_cond_wait_until(&session->changed, &session->lock, deadline))
    continue;
  if (session->failure)
    g_propagate_error(error, g_error_copy(session->failure));
  else if (session->probe_frame)
    g_set_error(error, VENC_ERROR, VENC_ERROR_NO_ANSWER,
                "the host did not say within %u ms what it reads", timeout_ms);
  else if (session->probe_error)
    g_propagate_error(error, g_error_copy(session->probe_error));
  gboolean done = !session->failure && !session->probe_frame && !session->probe_error;
  session->probe_frame = NULL;
  *result = session->probe;
  venc_session_unlock(session);
  return done;
}

gboolean venc_session_probe_refused(VencSession *session, guint buffer, const gchar *text) {
  if (!session->probe_frame || session->probe_frame->slot != buffer) return FALSE;
  g_clear_error(&session->probe_error);
  session->probe_error = g_error_new_literal(VENC_ERROR, VENC_ERROR_REFUSED, text);
  session->probe_frame = NULL;
  g_cond_broadcast(&session->changed);
  return TRUE;
}

gboolean venc_session_on_probed(VencSession *session, const vsockenc_Probed *probed) {
  const VencFrame *frame = session->probe_frame;
  if (!frame || !session->probe_sent || probed->buffer != frame->slot) return FALSE;
  session->probe = (VencProbe){.crc = probed->crc,
                               .bytes = probed->bytes,
                               .tier = session->slots[frame->slot].tier,
                               .runs = session->statistics.runs};
  session->probe_frame = NULL;
  g_cond_broadcast(&session->changed);
  return TRUE;
}
