/* Counts of encoded and dropped frames, and the durations of each stage. */
#ifndef VSOCKENC_SESSION_STATISTICS_H
#define VSOCKENC_SESSION_STATISTICS_H

#include "session.h"

#define VENC_SAMPLES 1024u

typedef struct {
  guint64 packets, key_frames;
  guint64 dropped[VENC_DROP_CAUSES];
  guint64 n_samples; /* of each stage; the last VENC_SAMPLES are kept */
  guint32 samples[VENC_STAGES][VENC_SAMPLES];
} VencCounters;

void venc_counters_add_packet(VencCounters *counters, const vsockenc_Packet *packet,
                              gint64 round_trip_us, gboolean discarded);
void venc_counters_add_drop(VencCounters *counters, VencDropCause cause);

#endif
