/*
 * How pixels reach the host: as resources, which it reads in place, or inline, behind each
 * Frame (proto/PROTOCOL.md, "Buffers" and "Frames").
 *
 * Inline is for a guest without a virtio-gpu and for a host without an exporter. The host reports
 * it in Welcome or by refusing an Attach. Either may change soon (its exporter is being started),
 * so a frame that is in a resource is offered again with another Attach every few seconds, and goes
 * inline if that is refused too. No frame is lost: a Frame waits for the answer to its Attach.
 */
#ifndef VSOCKENC_SESSION_SOURCE_H
#define VSOCKENC_SESSION_SOURCE_H

#include "session.h"

typedef struct {
  /* Why resources are not used at present, and when to ask again; NULL: they are. */
  gchar *refusal;
  gint64 ask_again_at;
  /* The pixels being sent, all of them before the next frame. `pixels` is NULL once the host needs
   * them no more: then zeros follow, as it has been promised that many bytes. */
  guint32 frame, size, sent;
  const VencPixels *pixels;
  vsockenc_SourceTier tier; /* of the last frame that was read, */
  gboolean copied;          /* and whether it had been copied */
  guint64 frames_inline, pixel_bytes_sent;
} VencSource;

void venc_source_clear(VencSource *source);
void venc_source_end_epoch(VencSource *source);
void venc_source_opened(VencSource *source, const vsockenc_Welcome *welcome);
void venc_source_accept(VencSource *source);
void venc_source_refuse(VencSource *source, const gchar *text);
gboolean venc_source_is_inline(const VencSession *session, const VencFrame *frame);
/* Begins to send the frame's pixels, behind its Frame. */
void venc_source_begin_pixels(VencSource *source, const VencFrame *frame, const VencPixels *pixels);
/* Sends what there is credit for; TRUE when nothing is left. */
gboolean venc_source_send_pixels(VencSession *session);
/* The host needs the frame's pixels no more. */
void venc_source_release_pixels(VencSource *source, const VencFrame *frame);
void venc_source_was_read(VencSource *source, vsockenc_SourceTier tier, gboolean copied);

#endif
