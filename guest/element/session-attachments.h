/* Which buffer the host knows by which number (proto/PROTOCOL.md, "Buffers"). */
#ifndef VSOCKENC_SESSION_ATTACHMENTS_H
#define VSOCKENC_SESSION_ATTACHMENTS_H

#include "session.h"

typedef struct {
  guint64 attachment; /* 0: the number is free */
  gboolean asked;     /* Attach has not been answered */
  gboolean is_inline; /* it has been attached without resources */
  vsockenc_SourceTier tier;
  guint in_use;    /* frames sent and not yet read by the host */
  gboolean detach; /* as soon as in_use is 0 */
  guint64 last_use;
} VencSlot;

typedef struct {
  VencSlot slots[VSOCKENC_MAX_ATTACHED_BUFFERS];
  guint limit;     /* the host's */
  gint64 asked_at; /* when the Attach was sent that has no answer; 0: there is none */
  guint64 attaches, uses;
  guint runs; /* of the last that was attached */
} VencAttachments;

void venc_attachments_end_epoch(VencAttachments *attachments);
void venc_attachments_opened(VencAttachments *attachments, const vsockenc_Welcome *welcome);
/* Sends every Detach that is due. */
void venc_attachments_pump(VencSession *session);
/* Attaches the frame's buffer, inline if there are `pixels`; FALSE: the frame may not be sent yet.
 */
gboolean venc_attachments_ensure(VencSession *session, const VencFrame *frame,
                                 const VencPixels *pixels);
/* The host may read the buffer from now on, and has read it. */
void venc_attachments_begin_use(VencAttachments *attachments, guint slot);
void venc_attachments_end_use(VencAttachments *attachments, guint slot);
/* Detaches the buffer as soon as no frame needs it. */
void venc_attachments_retire(VencAttachments *attachments, guint slot);
guint venc_attachments_count(const VencAttachments *attachments);
void venc_attachments_on_attached(VencSession *session, const vsockenc_Attached *attached);
void venc_attachments_on_error(VencSession *session, guint32 buffer, const gchar *text);

#endif
