#include "session-private.h"

gboolean venc_session_probe(VencSession *session, const VencFrame *frame, guint timeout_ms,
                            VencProbe *result, GError **error) {
  VencProbing *probing = &session->probing;
  gint64 deadline = g_get_monotonic_time() + VENC_MS(timeout_ms);
  GError *reason = NULL;

  venc_session_lock(session);
  g_clear_error(&probing->error);
  *probing = (VencProbing){.frame = frame};
  venc_session_wake(session);
  while (probing->frame && !session->failure &&
         g_cond_wait_until(&session->changed, &session->lock, deadline))
    continue;
  if (session->failure)
    reason = g_error_copy(session->failure);
  else if (probing->frame)
    reason = g_error_new(VENC_ERROR, VENC_ERROR_NO_ANSWER,
                         "the host did not report the buffer's pixels within %u ms", timeout_ms);
  else
    reason = g_steal_pointer(&probing->error);
  probing->frame = NULL;
  *result = probing->result;
  venc_session_unlock(session);
  if (!reason) return TRUE;
  g_propagate_error(error, reason);
  return FALSE;
}

void venc_probing_pump(VencSession *session) {
  VencProbing *probing = &session->probing;
  const VencFrame *frame = probing->frame;
  if (!frame || probing->sent) return;
  const VencSlot *slot = &session->attachments.slots[frame->slot];
  if (slot->attachment != frame->attachment) {
    venc_attachments_ensure(session, frame, NULL);
  } else if (!slot->asked) {
    venc_connection_begin(&session->connection, vsockenc_MessageType_PROBE)->u.probe.buffer =
        frame->slot;
    venc_connection_send(&session->connection);
    probing->sent = TRUE;
  }
}

gboolean venc_probing_refused(VencSession *session, guint buffer, const gchar *text) {
  VencProbing *probing = &session->probing;
  if (!probing->frame || probing->frame->slot != buffer) return FALSE;
  g_clear_error(&probing->error);
  probing->error = g_error_new_literal(VENC_ERROR, VENC_ERROR_REFUSED, text);
  probing->frame = NULL;
  g_cond_broadcast(&session->changed);
  return TRUE;
}

void venc_probing_on_probed(VencSession *session, const vsockenc_Probed *probed) {
  VencProbing *probing = &session->probing;
  const VencFrame *frame = probing->frame;
  if (!frame || !probing->sent || probed->buffer != frame->slot) {
    venc_session_violated(session, "Probed for a buffer that was not asked about");
    return;
  }
  probing->result = (VencProbe){.crc = probed->crc,
                                .bytes = probed->bytes,
                                .tier = session->attachments.slots[frame->slot].tier,
                                .runs = session->attachments.runs};
  probing->frame = NULL;
  g_cond_broadcast(&session->changed);
}
