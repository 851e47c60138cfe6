#include "planes.h"
#include "session-private.h"

#include <string.h>

#define ASK_AGAIN_US (3 * G_TIME_SPAN_SECOND)
#define CHUNK_OVERHEAD (VSOCKENC_HEADER_BYTES + VSOCKENC_DATA_PREFIX_BYTES)
#define MAX_CHUNK_BYTES (VSOCKENC_MAX_MESSAGE_BYTES - CHUNK_OVERHEAD)
#define NO_RESOURCES                                                                              \
  "the relay reaches no virtio-gpu of this virtual machine. On the host, run `vsockenc gpu` for " \
  "it and name its export socket in the relay's configuration"

void venc_source_end_epoch(VencSource *source) {
  source->pixels = NULL;
  source->frame = source->size = source->sent = 0;
}

void venc_source_opened(VencSource *source, const vsockenc_Welcome *welcome) {
  venc_source_accept(source);
  if (welcome->resources) return;
  venc_source_refuse(source, NO_RESOURCES);
  source->ask_again_at = 0; /* its exporter may have come since */
}

void venc_source_refuse(VencSource *source, const gchar *text) {
  g_free(source->refusal);
  source->refusal = g_utf8_make_valid(text, -1);
  source->ask_again_at = g_get_monotonic_time() + ASK_AGAIN_US;
}

static gboolean wants_resources(const VencSource *source) {
  return !source->refusal || g_get_monotonic_time() >= source->ask_again_at;
}

gboolean venc_source_is_inline(const VencSession *session, const VencFrame *frame) {
  const VencSlot *slot = &session->attachments.slots[frame->slot];
  if (frame->layout.planes[0].resource == 0) return TRUE;
  /* A buffer that the host has taken as a resource, or is being asked about, stays one. */
  if (slot->attachment == frame->attachment && !slot->is_inline) return FALSE;
  return !wants_resources(&session->source);
}

gboolean venc_source_waits(VencSession *session) {
  VencSource *source = &session->source;
  if (!source->was_resource || !source->refusal || session->fail_on_loss) return FALSE;
  if (!source->waiting)
    venc_receiving_notify(session, VENC_OUTPUT_WARNING, VENC_ERROR_REFUSED, source->refusal);
  source->waiting = TRUE;
  return TRUE;
}

void venc_source_begin_pixels(VencSource *source, const VencFrame *frame,
                              const VencPixels *pixels) {
  source->pixels = pixels;
  source->frame = frame->number;
  source->size = (guint32)venc_pixels_size(pixels);
  source->sent = 0;
  source->frames_inline++;
}

gboolean venc_source_send_pixels(VencSession *session) {
  VencSource *source = &session->source;
  VencConnection *connection = &session->connection;
  guint8 chunk[MAX_CHUNK_BYTES];
  while (source->sent < source->size) {
    guint32 size = MIN(source->size - source->sent, MAX_CHUNK_BYTES);
    /* Whole chunks: a little credit is not worth a message. */
    if (!venc_connection_has_credit(connection, CHUNK_OVERHEAD + size)) return FALSE;
    if (source->pixels)
      venc_pixels_read(source->pixels, source->sent, chunk, size);
    else
      memset(chunk, 0, size);
    venc_connection_begin(connection, vsockenc_MessageType_DATA)->u.data =
        (VencData){.frame = source->frame, .offset = source->sent, .bytes = chunk, .size = size};
    venc_connection_send_bulk(connection);
    source->sent += size;
    source->pixel_bytes_sent += size;
  }
  source->pixels = NULL;
  return TRUE;
}

vsockenc_SourceTier venc_session_tier(VencSession *session, gboolean *copied) {
  g_autoptr(VencLocked) locked = venc_session_lock(session);
  vsockenc_SourceTier tier = session->source.tier;
  *copied = session->source.copied;
  return tier;
}

gboolean venc_session_reads_in_order(VencSession *session, const VencFrame *frame) {
  g_autoptr(VencLocked) locked = venc_session_lock(session);
  const VencSlot *slot = &session->attachments.slots[frame->slot];
  return !frame->layout.host_memory && slot->attachment == frame->attachment &&
         slot->tier == vsockenc_SourceTier_RESOURCE_READ;
}

gboolean venc_session_wants_resources(VencSession *session) {
  g_autoptr(VencLocked) locked = venc_session_lock(session);
  return wants_resources(&session->source);
}

gchar *venc_session_dup_refusal(VencSession *session) {
  g_autoptr(VencLocked) locked = venc_session_lock(session);
  return g_strdup(session->source.refusal);
}
