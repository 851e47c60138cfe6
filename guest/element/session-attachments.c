#include "planes.h"
#include "session-private.h"

#include <string.h>

void venc_attachments_end_epoch(VencAttachments *attachments) {
  memset(attachments->slots, 0, sizeof attachments->slots);
  attachments->asked_at = 0;
}

static void send_detach(VencSession *session, guint slot) {
  venc_connection_begin(&session->connection, vsockenc_MessageType_DETACH)->u.detach.buffer = slot;
  venc_connection_send(&session->connection);
  session->attachments.slots[slot] = (VencSlot){0};
}

static void send_attach(VencSession *session, const VencFrame *frame, const VencLayout *layout,
                        gboolean is_inline) {
  VencAttachments *attachments = &session->attachments;
  VencSlot *slot = &attachments->slots[frame->slot];
  vsockenc_Attach *attach =
      &venc_connection_begin(&session->connection, vsockenc_MessageType_ATTACH)->u.attach;
  attach->buffer = frame->slot;
  attach->width = layout->width;
  attach->height = layout->height;
  attach->fourcc = layout->fourcc;
  attach->modifier_high = (guint32)(layout->modifier >> 32);
  attach->modifier_low = (guint32)layout->modifier;
  if (!is_inline) attach->content = layout->content;
  attach->planes_count = (pb_size_t)MIN(layout->n_planes, VSOCKENC_MAX_PLANES);
  memcpy(attach->planes, layout->planes, sizeof attach->planes);
  venc_connection_send(&session->connection);
  slot->attachment = frame->attachment;
  slot->asked = TRUE;
  slot->is_inline = is_inline;
  attachments->asked_at = session->connection.last_sent;
  attachments->attaches++;
}

void venc_attachments_pump(VencSession *session) {
  for (guint i = 0; i < VSOCKENC_MAX_ATTACHED_BUFFERS; i++) {
    const VencSlot *slot = &session->attachments.slots[i];
    if (slot->detach && slot->in_use == 0 && !slot->asked) send_detach(session, i);
  }
}

/* Makes room below the host's limit by detaching the least recently used buffer. */
static gboolean make_room(VencSession *session) {
  VencAttachments *attachments = &session->attachments;
  const VencSlot *oldest = NULL;
  for (guint i = 0; i < VSOCKENC_MAX_ATTACHED_BUFFERS; i++) {
    const VencSlot *slot = &attachments->slots[i];
    if (slot->attachment && slot->in_use == 0 && !slot->asked &&
        (!oldest || slot->last_use < oldest->last_use))
      oldest = slot;
  }
  if (venc_attachments_count(attachments) < attachments->limit) return TRUE;
  if (oldest) send_detach(session, (guint)(oldest - attachments->slots));
  return oldest != NULL;
}

/*
 * The protocol would let frames follow an Attach at once. But if the host refuses the buffer, each
 * of them is lost, and a refusal is how the guest learns that resources cannot be used.
 */
gboolean venc_attachments_ensure(VencSession *session, const VencFrame *frame,
                                 const VencPixels *pixels) {
  const VencSlot *slot = &session->attachments.slots[frame->slot];
  VencLayout layout = frame->layout;
  if (slot->asked) return FALSE;
  if (slot->attachment == frame->attachment && slot->is_inline == (pixels != NULL))
    /* A host may keep inline pixels by the number of their buffer. */
    return !pixels || slot->in_use == 0;
  if (slot->in_use > 0) return FALSE;
  if (slot->attachment) send_detach(session, frame->slot);
  if (!make_room(session)) return FALSE;
  if (pixels) venc_pixels_layout(pixels, &layout);
  send_attach(session, frame, &layout, pixels != NULL);
  return FALSE;
}

void venc_attachments_begin_use(VencAttachments *attachments, guint slot) {
  attachments->slots[slot].in_use++;
  attachments->slots[slot].last_use = ++attachments->uses;
}

guint venc_attachments_count(const VencAttachments *attachments) {
  guint count = 0;
  for (guint i = 0; i < VSOCKENC_MAX_ATTACHED_BUFFERS; i++)
    if (attachments->slots[i].attachment) count++;
  return count;
}

void venc_session_detach(VencSession *session, guint slot, guint64 attachment) {
  g_return_if_fail(slot < VSOCKENC_MAX_ATTACHED_BUFFERS);
  g_autoptr(VencLocked) locked = venc_session_lock(session);
  if (session->attachments.slots[slot].attachment == attachment)
    venc_attachments_retire(&session->attachments, slot);
  venc_session_wake(session);
}

/* The slot whose Attach is being answered, or NULL after a violation. */
static VencSlot *answered_slot(VencSession *session, guint32 buffer) {
  VencAttachments *attachments = &session->attachments;
  if (buffer >= VSOCKENC_MAX_ATTACHED_BUFFERS || !attachments->slots[buffer].asked) {
    venc_session_violated(session, "an answer about a buffer that was not asked for");
    return NULL;
  }
  attachments->slots[buffer].asked = FALSE;
  attachments->asked_at = 0;
  for (guint i = 0; i < VSOCKENC_MAX_ATTACHED_BUFFERS; i++)
    if (attachments->slots[i].asked) attachments->asked_at = g_get_monotonic_time();
  return &attachments->slots[buffer];
}

void venc_attachments_on_attached(VencSession *session, const vsockenc_Attached *attached) {
  VencSlot *slot = answered_slot(session, attached->buffer);
  if (!slot) return;
  slot->tier = attached->tier;
  session->attachments.runs = attached->runs;
  if (!slot->is_inline) venc_source_accept(&session->source);
}

void venc_attachments_on_error(VencSession *session, guint32 buffer, const gchar *text) {
  if (session->probing.sent && venc_probing_refused(session, buffer, text)) return;
  VencSlot *slot = answered_slot(session, buffer);
  if (!slot) return;
  gboolean was_inline = slot->is_inline;
  gboolean probed = venc_probing_refused(session, buffer, text);
  if (was_inline && !probed) {
    /* Inline was the last resort. */
    venc_session_refused(session, VENC_ERROR_REFUSED, text);
    return;
  }
  *slot = (VencSlot){0};
  if (!probed) venc_source_refuse(&session->source, text);
}
