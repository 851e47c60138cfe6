/* What others may know of a session. */
#include <string.h>

#include "session-private.h"

void venc_session_get_configured(VencSession *session, vsockenc_Configured *configured) {
  venc_session_lock(session);
  *configured = session->configured;
  venc_session_unlock(session);
}

void venc_session_get_host(VencSession *session, VencHost *host) {
  venc_session_lock(session);
  *host = session->host;
  venc_session_unlock(session);
}

gboolean venc_session_may_drop(VencSession *session) {
  venc_session_lock(session);
  gboolean may = !session->lossless;
  venc_session_unlock(session);
  return may;
}

guint venc_session_pending(VencSession *session) {
  venc_session_lock(session);
  guint pending = session->frames.length;
  venc_session_unlock(session);
  return pending;
}

gchar *venc_session_dup_transport(VencSession *session) {
  venc_session_lock(session);
  gchar *name = g_strdup(session->link.name);
  venc_session_unlock(session);
  return name;
}

static gint compare_durations(gconstpointer a, gconstpointer b) {
  guint32 x = *(const guint32 *)a, y = *(const guint32 *)b;
  return x < y ? -1 : x > y;
}

vsockenc_SourceTier venc_session_tier(VencSession *session, gboolean *copied) {
  venc_session_lock(session);
  *copied = session->statistics.copied;
  vsockenc_SourceTier tier = session->statistics.tier;
  venc_session_unlock(session);
  return tier;
}

void venc_session_get_statistics(VencSession *session, VencStatistics *statistics) {
  g_autofree guint32 *sorted = g_new(guint32, VENC_SAMPLES);
  venc_session_lock(session);
  *statistics = session->statistics;
  for (guint i = 0; i < VSOCKENC_MAX_ATTACHED_BUFFERS; i++)
    if (session->slots[i].attachment) statistics->attached++;
  for (guint stage = 0; stage < VENC_STAGES; stage++) {
    const VencSamples *samples = &session->samples[stage];
    guint n = (guint)MIN(samples->count, VENC_SAMPLES);
    if (n == 0) continue;
    memcpy(sorted, samples->values, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_durations);
    statistics->p50_us[stage] = sorted[n / 2];
    statistics->p95_us[stage] = sorted[n * 95 / 100];
  }
  venc_session_unlock(session);
}
