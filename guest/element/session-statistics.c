#include "session-private.h"

#include <string.h>

void venc_counters_add_packet(VencCounters *counters, const vsockenc_Packet *packet,
                              gint64 round_trip_us, gboolean discarded) {
  guint at = counters->n_samples++ % VENC_SAMPLES;
  counters->samples[VENC_STAGE_QUEUE][at] = packet->queue_us;
  counters->samples[VENC_STAGE_CONVERT][at] = packet->convert_us;
  counters->samples[VENC_STAGE_ENCODE][at] = packet->encode_us;
  counters->samples[VENC_STAGE_ROUND_TRIP][at] = (guint32)CLAMP(round_trip_us, 0, G_MAXUINT32);
  if (discarded) return;
  counters->packets++;
  if (packet->key) counters->key_frames++;
}

static gint compare_durations(gconstpointer a, gconstpointer b) {
  guint32 x = *(const guint32 *)a, y = *(const guint32 *)b;
  return x < y ? -1 : x > y;
}

void venc_session_get_statistics(VencSession *session, VencStatistics *statistics) {
  g_autoptr(VencLocked) locked = venc_session_lock(session);
  const VencCounters *counters = &session->counters;
  *statistics = (VencStatistics){
      .packets = counters->packets,
      .key_frames = counters->key_frames,
      .bytes_sent = session->connection.bytes_sent,
      .bytes_received = session->connection.bytes_received,
      .sessions = session->connection.openings,
      .frame_bytes_sent = session->sending.frame_bytes,
      .attaches = session->attachments.attaches,
      .attached = venc_attachments_count(&session->attachments),
      .runs = session->attachments.runs,
      .frames_inline = session->source.frames_inline,
      .pixel_bytes_sent = session->source.pixel_bytes_sent,
      .tier = session->source.tier,
      .copied = session->source.copied,
  };
  memcpy(statistics->dropped, counters->dropped, sizeof statistics->dropped);
  g_strlcpy(statistics->host, session->negotiation.host.software, sizeof statistics->host);
  g_strlcpy(statistics->encoder, session->negotiation.encoder_name, sizeof statistics->encoder);
  guint n = (guint)MIN(counters->n_samples, VENC_SAMPLES);
  for (guint stage = 0; n > 0 && stage < VENC_STAGES; stage++) {
    guint32 sorted[VENC_SAMPLES];
    memcpy(sorted, counters->samples[stage], n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_durations);
    statistics->p50_us[stage] = sorted[n / 2];
    statistics->p95_us[stage] = sorted[n * 95 / 100];
  }
}
