/*
 * By which way pixels reach the host: as resources, which it reads in place, or inline, behind each
 * Frame (proto/PROTOCOL.md, "Buffers" and "Frames").
 *
 * Inline is for a guest without a virtio-gpu and for a host without an exporter. The host says so
 * in Welcome or by refusing an Attach; either may be over soon (its exporter is being started), so
 * a frame that is in a resource asks again with another Attach every few seconds, and goes inline
 * if that is refused too. Nothing is lost on the way: a Frame waits for the answer to its Attach.
 */
#include <poll.h>

#include "pixels.h"
#include "session-private.h"

#define ASK_AGAIN_US (3 * G_TIME_SPAN_SECOND)
#define MAX_CHUNK_BYTES \
  (VSOCKENC_MAX_MESSAGE_BYTES - VSOCKENC_HEADER_BYTES - VSOCKENC_DATA_PREFIX_BYTES)

void venc_session_refuse_resources(VencSession *session, gint64 now, const gchar *text) {
  g_free(session->refusal);
  session->refusal = g_utf8_make_valid(text, -1);
  session->ask_again_at = now + ASK_AGAIN_US;
}

gboolean venc_session_is_inline(const VencSession *session, const VencFrame *frame, gint64 now) {
  const VencSlot *slot = &session->slots[frame->slot];
  if (frame->layout.planes[0].resource == 0) return TRUE;
  /* What the host has taken as a resource, or is being asked about, stays one. */
  if (slot->attachment == frame->attachment && !slot->is_inline) return FALSE;
  return session->refusal && now < session->ask_again_at;
}

gboolean venc_session_wants_resources(VencSession *session) {
  venc_session_lock(session);
  gboolean wants = !session->refusal || g_get_monotonic_time() >= session->ask_again_at;
  venc_session_unlock(session);
  return wants;
}

gchar *venc_session_dup_refusal(VencSession *session) {
  venc_session_lock(session);
  gchar *text = g_strdup(session->refusal);
  venc_session_unlock(session);
  return text;
}

void venc_session_begin_pixels(VencSession *session, const VencFrame *frame,
                               const VencPixels *pixels) {
  session->pixels = pixels;
  session->pixels_frame = frame->number;
  session->pixels_size = (guint32)venc_pixels_size(pixels);
  session->pixels_sent = 0;
  session->statistics.frames_inline++;
}

gboolean venc_session_send_pixels(VencSession *session, gint64 now) {
  guint8 chunk[MAX_CHUNK_BYTES];
  while (session->pixels_sent < session->pixels_size) {
    guint64 overhead = VSOCKENC_HEADER_BYTES + VSOCKENC_DATA_PREFIX_BYTES;
    guint64 credit = session->bulk_allowed - MIN(session->bulk_allowed, session->bulk_sent);
    guint32 size = MIN(session->pixels_size - session->pixels_sent, MAX_CHUNK_BYTES);
    /* Whole chunks: a little credit is not worth a message. */
    if (credit < overhead + size) return FALSE;
    if (session->pixels)
      venc_pixels_read(session->pixels, session->pixels_sent, chunk, size);
    else
      memset(chunk, 0, size);
    VencData *data = &venc_session_begin(session, vsockenc_MessageType_DATA)->u.data;
    data->frame = session->pixels_frame;
    data->offset = session->pixels_sent;
    data->bytes = chunk;
    data->size = size;
    session->bulk_sent += venc_session_finish(session, now);
    session->pixels_sent += size;
    session->statistics.pixel_bytes_sent += size;
  }
  session->pixels = NULL;
  return TRUE;
}

void venc_session_release_pixels(VencSession *session, const VencFrame *frame) {
  if (frame->state != VENC_FRAME_QUEUED && frame->number == session->pixels_frame)
    session->pixels = NULL;
}

VencResult venc_session_wait_readable(VencSession *session, int fd, gint64 deadline) {
  struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = session->cancel, .events = POLLIN}};
  gint64 left = MAX(deadline - g_get_monotonic_time(), 0);
  int ready = poll(fds, G_N_ELEMENTS(fds), (int)((left + 999) / 1000));
  if (ready > 0 && fds[1].revents) return VENC_INTERRUPTED;
  /* Whatever else poll() says of `fd`, waiting longer would not change it. */
  return ready == 0 ? VENC_FAILED : VENC_OK;
}
