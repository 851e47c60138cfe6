#include "planes.h"
#include "session-private.h"

void venc_sending_end_epoch(VencSending *sending) {
  sending->last_number = 0;
  sending->has_pts = FALSE;
  sending->pts_shift = 0;
  sending->drain_sent = FALSE;
  sending->force_next_key = TRUE;
}

void venc_sending_lost(VencSession *session) {
  for (GList *at = session->sending.frames.head, *next; at; at = next) {
    VencFrame *frame = at->data;
    next = at->next;
    if (session->lossless && !frame->discard) {
      frame->state = VENC_FRAME_QUEUED;
      continue;
    }
    g_queue_delete_link(&session->sending.frames, at);
    venc_receiving_drop(session, frame, VENC_DROPPED_DISCONNECTED);
  }
}

const VencFrame *venc_sending_oldest_unread(const VencSending *sending) {
  for (const GList *at = sending->frames.head; at; at = at->next)
    if (((VencFrame *)at->data)->state == VENC_FRAME_SENT) return at->data;
  return NULL;
}

VencFrame *venc_sending_find(const VencSending *sending, guint32 number) {
  for (const GList *at = sending->frames.head; at; at = at->next) {
    VencFrame *frame = at->data;
    if (frame->state != VENC_FRAME_QUEUED && frame->number == number) return frame;
  }
  return NULL;
}

const VencFrame *venc_sending_answered(const VencSending *sending, guint32 number) {
  const GList *head = sending->frames.head;
  const VencFrame *frame = head ? head->data : NULL;
  return frame && frame->state == VENC_FRAME_READ && frame->number == number ? frame : NULL;
}

void venc_sending_on_frame_done(VencSession *session, guint32 number) {
  VencFrame *frame = venc_sending_find(&session->sending, number);
  if (!frame || frame->state != VENC_FRAME_SENT) {
    venc_session_violated(session, "FrameDone for a frame that is not being read");
    return;
  }
  frame->state = VENC_FRAME_READ;
  venc_attachments_end_use(&session->attachments, frame->slot);
  venc_source_was_read(&session->source, session->attachments.slots[frame->slot].tier,
                       frame->copied);
  if (!session->lossless || frame->discard) venc_session_release_pixels(session, frame);
}

/* Times on the wire rise strictly within an epoch, also when the stream jumps back. */
static guint64 wire_pts(VencSending *sending, const VencFrame *frame) {
  guint64 pts = frame->pts + (guint64)sending->pts_shift;
  if (sending->has_pts && pts <= sending->last_pts) {
    guint64 step = CLAMP(frame->duration, G_TIME_SPAN_MILLISECOND * 1000, 1000000000u);
    sending->pts_shift += (gint64)(sending->last_pts + step - pts);
    pts = sending->last_pts + step;
  }
  sending->last_pts = pts;
  sending->has_pts = TRUE;
  return pts;
}

static gboolean send_frame(VencSession *session, VencFrame *frame, const VencPixels *pixels) {
  VencSending *sending = &session->sending;
  VencConnection *connection = &session->connection;
  if (!venc_connection_has_credit(connection, VSOCKENC_HEADER_BYTES + vsockenc_Frame_size))
    return FALSE;
  frame->number = ++sending->last_number;
  venc_connection_begin(connection, vsockenc_MessageType_FRAME)->u.frame = (vsockenc_Frame){
      .frame = frame->number,
      .buffer = frame->slot,
      .configuration = session->negotiation.serial,
      .pts_ns = wire_pts(sending, frame),
      .duration_ns = frame->duration,
      .force_key = frame->force_key || sending->force_next_key,
      .inline_bytes = pixels ? (uint32_t)venc_pixels_size(pixels) : 0,
  };
  sending->frame_bytes += venc_connection_send_bulk(connection);
  sending->force_next_key = FALSE;
  venc_attachments_begin_use(&session->attachments, frame->slot);
  frame->state = VENC_FRAME_SENT;
  frame->sent_at = connection->last_sent;
  if (pixels) venc_source_begin_pixels(&session->source, frame, pixels);
  return TRUE;
}

/* FALSE: no more can be sent now. */
static gboolean try_frame(VencSession *session, VencFrame *frame) {
  const VencPixels *pixels = NULL;
  if (venc_source_is_inline(session, frame)) {
    g_autoptr(GError) error = NULL;
    pixels = frame->map(frame->hold, &error);
    if (!pixels) {
      if (!venc_source_waits(session))
        venc_session_give_up(session, VENC_ERROR_REFUSED, error->message);
      return FALSE;
    }
  }
  return venc_attachments_ensure(session, frame, pixels) && send_frame(session, frame, pixels) &&
         venc_source_send_pixels(session);
}

/* TRUE when every frame has been sent. */
static gboolean send_frames(VencSession *session) {
  /* Outputs that have not been taken count too, so that a slow pipeline slows the host down. */
  guint out = venc_receiving_pending(&session->receiving);
  guint limit = MIN(session->max_in_flight, session->sending.limit);
  for (GList *at = session->sending.frames.head; at; at = at->next, out++) {
    VencFrame *frame = at->data;
    if (frame->state == VENC_FRAME_QUEUED && (out >= limit || !try_frame(session, frame)))
      return FALSE;
  }
  return TRUE;
}

void venc_sending_pump(VencSession *session) {
  VencSending *sending = &session->sending;
  venc_attachments_pump(session);
  if (!venc_source_send_pixels(session)) return;
  venc_probing_pump(session);
  if (!venc_negotiation_pump(session) || !send_frames(session)) return;
  if (sending->draining > 0 && !sending->drain_sent && sending->frames.length > 0) {
    venc_connection_begin(&session->connection, vsockenc_MessageType_DRAIN)->u.drain.token =
        venc_connection_next_token(&session->connection);
    venc_connection_send(&session->connection);
    sending->drain_sent = TRUE;
  }
}

/* Frames that the pipeline is still owed, the popped one included. */
static guint frames_out(const VencSession *session) {
  guint out = venc_receiving_pending(&session->receiving);
  for (const GList *at = session->sending.frames.head; at; at = at->next)
    if (!((VencFrame *)at->data)->discard) out++;
  return out;
}

/*
 * Whether the newest frame waits for the answer to the Attach of its buffer: then it stays. A frame
 * that waits behind it does not, also if it is in the same buffer.
 */
static gboolean is_asked_for(const VencSession *session) {
  const GList *last = session->sending.frames.tail;
  const VencFrame *frame = last->data;
  const VencFrame *before = last->prev ? last->prev->data : NULL;
  return session->attachments.slots[frame->slot].asked &&
         !(before && before->state == VENC_FRAME_QUEUED);
}

VencResult venc_session_submit(VencSession *session, VencFrame *frame, VencFrame **replaced) {
  GQueue *frames = &session->sending.frames;
  VencResult result = VENC_OK;

  *replaced = NULL;
  g_autoptr(VencLocked) locked = venc_session_lock(session);
  while (!venc_session_wait_is_over(session, &result) && session->lossless &&
         frames_out(session) >= session->max_in_flight)
    g_cond_wait(&session->changed, &session->lock);
  if (result == VENC_OK && !session->lossless) {
    const VencFrame *last = g_queue_peek_tail(frames);
    if (session->connection.state != VENC_STATE_OPEN) {
      venc_counters_add_drop(&session->counters, VENC_DROPPED_DISCONNECTED);
      result = VENC_AWAY;
    } else if (last && last->state == VENC_FRAME_QUEUED && !is_asked_for(session)) {
      /* A key frame that the replaced frame was to be is asked of this one. */
      frame->force_key |= last->force_key;
      venc_counters_add_drop(&session->counters, VENC_DROPPED_NEWER);
      *replaced = g_queue_pop_tail(frames);
    }
  }
  if (result == VENC_OK) {
    frame->state = VENC_FRAME_QUEUED;
    g_queue_push_tail(frames, frame);
    /* At once, or a frame that the host has room for could still be replaced. */
    if (session->connection.state == VENC_STATE_OPEN) venc_sending_pump(session);
    venc_session_wake(session);
  }
  return result;
}

VencResult venc_session_drain(VencSession *session) {
  VencSending *sending = &session->sending;
  VencResult result = VENC_OK;
  g_autoptr(VencLocked) locked = venc_session_lock(session);
  sending->draining++;
  venc_session_wake(session);
  while (frames_out(session) > 0 && !venc_session_wait_is_over(session, &result))
    g_cond_wait(&session->changed, &session->lock);
  sending->draining--;
  sending->drain_sent = FALSE;
  return result;
}

void venc_session_flush(VencSession *session) {
  VencSending *sending = &session->sending;
  gboolean sent = FALSE;
  g_autoptr(VencLocked) locked = venc_session_lock(session);
  for (GList *at = sending->frames.head, *next; at; at = next) {
    VencFrame *frame = at->data;
    next = at->next;
    if (frame->discard) continue;
    venc_counters_add_drop(&session->counters, VENC_DROPPED_FLUSHED);
    if (frame->state == VENC_FRAME_QUEUED) {
      g_queue_delete_link(&sending->frames, at);
      venc_session_free_later(session, frame);
      continue;
    }
    /* The host may still be reading: keep the pixels, and nothing else. */
    sent = frame->discard = TRUE;
    if (frame->state == VENC_FRAME_READ) venc_session_release_pixels(session, frame);
    VencFrame *shell = g_new0(VencFrame, 1);
    shell->user = g_steal_pointer(&frame->user);
    shell->free_user = frame->free_user;
    venc_session_free_later(session, shell);
  }
  venc_receiving_flush(session);
  /* Later frames cannot refer to pictures that were thrown away. */
  sending->force_next_key = TRUE;
  if (sent && session->connection.state == VENC_STATE_OPEN) {
    venc_connection_begin(&session->connection, vsockenc_MessageType_FLUSH)->u.flush.token =
        venc_connection_next_token(&session->connection);
    venc_connection_send(&session->connection);
  }
  g_cond_broadcast(&session->changed);
  venc_session_wake(session);
}

guint venc_session_pending(VencSession *session) {
  g_autoptr(VencLocked) locked = venc_session_lock(session);
  return session->sending.frames.length;
}
