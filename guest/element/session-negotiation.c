#include "session-private.h"

#include <string.h>

/* The host answers every Configure; opening a hardware encoder may take a second or two. */
#define CONFIGURE_TIMEOUT_US (15 * G_USEC_PER_SEC)

/* GLib's texts must be UTF-8, and the host's names may be any bytes. */
static void copy_name(gchar *to, gsize size, const gchar *from) {
  g_autofree gchar *valid = g_utf8_make_valid(from, -1);
  gsize length = MIN(strlen(valid), size - 1);
  while (length > 0 && (valid[length] & 0xc0) == 0x80) length--;
  memcpy(to, valid, length);
  to[length] = 0;
}

void venc_negotiation_end_epoch(VencNegotiation *negotiation) {
  negotiation->changed = negotiation->is_set;
  negotiation->pending = negotiation->has_accepted = FALSE;
  negotiation->serial = 0;
}

/* nanopb has checked the counts against the lists' bounds. */
void venc_negotiation_take_offer(VencNegotiation *negotiation, const vsockenc_Welcome *welcome) {
  vsockenc_Welcome *host = &negotiation->host;
  *host = *welcome;
  copy_name(host->software, sizeof host->software, welcome->software);
  for (guint i = 0; i < host->encoders_count; i++)
    copy_name(host->encoders[i].name, sizeof host->encoders[i].name, welcome->encoders[i].name);
}

VencResult venc_session_configure(VencSession *session, const vsockenc_Configure *configuration,
                                  gboolean wait, GError **error) {
  VencNegotiation *negotiation = &session->negotiation;
  VencResult result = VENC_OK;
  gint64 deadline = g_get_monotonic_time() + CONFIGURE_TIMEOUT_US;

  g_autoptr(VencLocked) locked = venc_session_lock(session);
  negotiation->wanted = *configuration;
  negotiation->is_set = negotiation->changed = TRUE;
  if (wait) negotiation->configured = (vsockenc_Configured){0};
  g_clear_error(&negotiation->error);
  venc_session_wake(session);
  if (wait) negotiation->waiting++;
  while (wait && (negotiation->changed || negotiation->pending)) {
    if (venc_session_wait_is_over(session, &result)) break;
    if (session->connection.state != VENC_STATE_OPEN) {
      if (!session->lossless) break;
      deadline = g_get_monotonic_time() + CONFIGURE_TIMEOUT_US;
    }
    if (!g_cond_wait_until(&session->changed, &session->lock, deadline)) {
      negotiation->error = g_error_new(VENC_ERROR, VENC_ERROR_CONFIGURATION,
                                       "the relay did not answer the configuration within %d s",
                                       (int)(CONFIGURE_TIMEOUT_US / G_USEC_PER_SEC));
      break;
    }
  }
  if (wait) negotiation->waiting--;
  if (wait && negotiation->error) {
    result = VENC_FAILED;
    negotiation->is_set = FALSE;
    g_propagate_error(error, g_steal_pointer(&negotiation->error));
  } else if (result == VENC_FAILED) {
    g_propagate_error(error, g_error_copy(session->failure));
  }
  return result;
}

gboolean venc_negotiation_pump(VencSession *session) {
  VencNegotiation *negotiation = &session->negotiation;
  /* A frame sent before the answer would be lost if the host refused. */
  if (!negotiation->is_set || negotiation->pending) return FALSE;
  if (!negotiation->changed) return TRUE;
  negotiation->wanted.serial = ++negotiation->serial;
  venc_connection_begin(&session->connection, vsockenc_MessageType_CONFIGURE)->u.configure =
      negotiation->wanted;
  venc_connection_send(&session->connection);
  negotiation->sent = negotiation->wanted;
  negotiation->changed = FALSE;
  negotiation->pending = TRUE;
  return FALSE;
}

void venc_negotiation_on_configured(VencSession *session, const vsockenc_Configured *configured) {
  VencNegotiation *negotiation = &session->negotiation;
  if (!negotiation->pending || configured->serial != negotiation->serial) {
    venc_session_violated(session, "Configured for a serial that was not asked for");
    return;
  }
  negotiation->pending = FALSE;
  negotiation->configured = *configured;
  copy_name(negotiation->configured.encoder, sizeof negotiation->configured.encoder,
            configured->encoder);
  g_strlcpy(negotiation->encoder_name, negotiation->configured.encoder,
            sizeof negotiation->encoder_name);
  negotiation->accepted = negotiation->sent;
  negotiation->has_accepted = TRUE;
  venc_connection_reset_backoff(&session->connection);
  g_cond_broadcast(&session->changed);
}

void venc_negotiation_on_error(VencSession *session, guint32 serial, const gchar *text) {
  VencNegotiation *negotiation = &session->negotiation;
  if (!negotiation->pending || serial != negotiation->serial) {
    venc_session_violated(session, "Error about a serial that was not asked for");
    return;
  }
  negotiation->pending = FALSE;
  if (negotiation->has_accepted) {
    /* A change of a running stream was refused: continue as before. */
    venc_receiving_notify(session, VENC_OUTPUT_WARNING, VENC_ERROR_CONFIGURATION, text);
    negotiation->wanted = negotiation->accepted;
    negotiation->changed = TRUE;
    negotiation->has_accepted = FALSE;
  } else if (negotiation->waiting == 0) {
    /* It was good enough for the host before this one. */
    venc_session_refused(session, VENC_ERROR_CONFIGURATION, text);
    return;
  } else {
    negotiation->is_set = FALSE;
  }
  g_clear_error(&negotiation->error);
  negotiation->error = g_error_new_literal(VENC_ERROR, VENC_ERROR_CONFIGURATION, text);
  g_cond_broadcast(&session->changed);
}

void venc_session_get_configured(VencSession *session, vsockenc_Configured *configured) {
  g_autoptr(VencLocked) locked = venc_session_lock(session);
  *configured = session->negotiation.configured;
}

void venc_session_get_host(VencSession *session, vsockenc_Welcome *host) {
  g_autoptr(VencLocked) locked = venc_session_lock(session);
  *host = session->negotiation.host;
}
