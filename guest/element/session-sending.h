/* Frames that have no last answer yet: when each may be sent, and whose turn it is. */
#ifndef VSOCKENC_SESSION_SENDING_H
#define VSOCKENC_SESSION_SENDING_H

#include "session.h"

typedef struct {
  GQueue frames; /* oldest first */
  guint limit;   /* of frames in flight, the host's */
  guint32 last_number;
  guint64 last_pts; /* on the wire */
  gint64 pts_shift; /* wire time minus stream time; grows when the stream jumps back */
  gboolean force_next_key;
  guint draining; /* threads waiting for everything to be out */
  gboolean drain_sent;
  guint64 frame_bytes;
} VencSending;

void venc_sending_clear(VencSending *sending);
void venc_sending_end_epoch(VencSending *sending);
void venc_sending_opened(VencSending *sending, const vsockenc_Welcome *welcome);
/* The host is lost: frames that must not be lost wait for the next one, others are dropped. */
void venc_sending_lost(VencSession *session);
/* Sends everything that may be sent. */
void venc_sending_pump(VencSession *session);
/* The oldest frame that the host may still be reading, or NULL. */
const VencFrame *venc_sending_oldest_unread(const VencSending *sending);
/* The frame that was sent with this number, or NULL. */
VencFrame *venc_sending_find(const VencSending *sending, guint32 number);
/* The frame that must be answered next if that is its number, or NULL. */
const VencFrame *venc_sending_answered(const VencSending *sending, guint32 number);
/* Removes that frame. */
VencFrame *venc_sending_pop(VencSending *sending);
void venc_sending_on_frame_done(VencSession *session, guint32 number);

#endif
