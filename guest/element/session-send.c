/* What the session sends, and when it may (proto/PROTOCOL.md, "Credits" and "Frames"). */
#include <string.h>

#include "pixels.h"
#include "session-private.h"

/* A new message, all fields 0. */
VencMessage *venc_session_begin(VencSession *session, vsockenc_MessageType type) {
  VencMessage *message = &session->sending;
  memset(message, 0, sizeof *message);
  message->header.type = (guint8)type;
  message->header.epoch = session->epoch;
  return message;
}

/* Appends the message to the bytes to be written; returns its length. */
gsize venc_session_finish(VencSession *session, gint64 now) {
  VencMessage *message = &session->sending;
  guint before = session->out->len;
  if (message->header.type != vsockenc_MessageType_HELLO)
    message->header.sequence = ++session->sequence_out;
  /* Whatever the guest sends is small; the array keeps the room for the next one. */
  g_byte_array_set_size(session->out, before + VSOCKENC_MAX_MESSAGE_BYTES);
  gsize size = venc_wire_encode(message, session->out->data + before, VSOCKENC_MAX_MESSAGE_BYTES);
  g_byte_array_set_size(session->out, before + (guint)size);
  session->last_sent = now;
  return size;
}

void venc_session_send_hello(VencSession *session, gint64 now) {
  if (session->hellos++ == 2) {
    /* Two went unanswered: perhaps they were taken for the rest of a predecessor's message. */
    guint before = session->out->len;
    g_byte_array_set_size(session->out, before + VSOCKENC_FLUSH_NULS);
    memset(session->out->data + before, 0, VSOCKENC_FLUSH_NULS);
  }
  vsockenc_Hello *hello = &venc_session_begin(session, vsockenc_MessageType_HELLO)->u.hello;
  hello->version_min = hello->version_max = VSOCKENC_PROTOCOL_VERSION;
  hello->window_bytes = VSOCKENC_HOST_WINDOW_BYTES;
  g_strlcpy(hello->software, session->software, sizeof hello->software);
  venc_session_finish(session, now);
  session->hello_at = now + VSOCKENC_HELLO_INTERVAL_MS * G_TIME_SPAN_MILLISECOND;
}

void venc_session_send_ping(VencSession *session, gint64 now) {
  venc_session_begin(session, vsockenc_MessageType_PING)->u.ping.token = ++session->next_token;
  venc_session_finish(session, now);
  session->ping_at = now;
}

void venc_session_send_pong(VencSession *session, gint64 now, guint32 token) {
  venc_session_begin(session, vsockenc_MessageType_PONG)->u.pong.token = token;
  venc_session_finish(session, now);
}

void venc_session_send_credit(VencSession *session, gint64 now) {
  guint64 granted = session->bulk_received + VSOCKENC_HOST_WINDOW_BYTES;
  if (granted - session->bulk_granted < VSOCKENC_HOST_WINDOW_BYTES / 4) return;
  session->bulk_granted = granted;
  venc_session_begin(session, vsockenc_MessageType_CREDIT)->u.credit.granted_bytes = granted;
  venc_session_finish(session, now);
}

void venc_session_send_bye(VencSession *session, gint64 now) {
  venc_session_begin(session, vsockenc_MessageType_BYE);
  venc_session_finish(session, now);
}

void venc_session_send_flush(VencSession *session, gint64 now) {
  venc_session_begin(session, vsockenc_MessageType_FLUSH)->u.flush.token = ++session->next_token;
  venc_session_finish(session, now);
}

void venc_session_send_error(VencSession *session, gint64 now, const gchar *text) {
  vsockenc_Error *error = &venc_session_begin(session, vsockenc_MessageType_ERROR)->u.error;
  error->code = vsockenc_ErrorCode_PROTOCOL_VIOLATION;
  error->fatal = true;
  g_strlcpy(error->text, text, sizeof error->text);
  venc_session_finish(session, now);
}

static void send_configure(VencSession *session, gint64 now) {
  const VencConfiguration *from = &session->configuration;
  vsockenc_Configure *to =
      &venc_session_begin(session, vsockenc_MessageType_CONFIGURE)->u.configure;
  to->serial = ++session->serial;
  to->codec = from->codec;
  to->width = from->width;
  to->height = from->height;
  to->framerate_numerator = from->fps_n;
  to->framerate_denominator = from->fps_d;
  to->bitrate_kbps = from->bitrate_kbps;
  to->keyframe_interval = from->keyframe_interval;
  to->par_numerator = from->par_n;
  to->par_denominator = from->par_d;
  to->profile = from->profile;
  to->levels_count = (pb_size_t)MIN(from->n_levels, VSOCKENC_MAX_LEVELS);
  memcpy(to->levels, from->levels, to->levels_count * sizeof *to->levels);
  to->rate_control = from->rate_control;
  to->has_colorimetry = from->has_colorimetry;
  to->colorimetry = from->colorimetry;
  venc_session_finish(session, now);
  session->sent = *from;
  session->configuration_changed = FALSE;
  session->configuration_pending = TRUE;
}

static void send_detach(VencSession *session, gint64 now, guint slot) {
  venc_session_begin(session, vsockenc_MessageType_DETACH)->u.detach.buffer = slot;
  venc_session_finish(session, now);
  memset(&session->slots[slot], 0, sizeof session->slots[slot]);
}

static void send_attach(VencSession *session, gint64 now, const VencFrame *frame,
                        const VencLayout *layout, gboolean is_inline) {
  vsockenc_Attach *attach = &venc_session_begin(session, vsockenc_MessageType_ATTACH)->u.attach;
  attach->buffer = frame->slot;
  attach->width = layout->width;
  attach->height = layout->height;
  attach->fourcc = layout->fourcc;
  attach->modifier_high = (guint32)(layout->modifier >> 32);
  attach->modifier_low = (guint32)layout->modifier;
  attach->planes_count = (pb_size_t)MIN(layout->n_planes, VSOCKENC_MAX_PLANES);
  for (guint i = 0; i < attach->planes_count; i++) {
    attach->planes[i].resource = layout->planes[i].resource;
    attach->planes[i].offset = layout->planes[i].offset;
    attach->planes[i].stride = layout->planes[i].stride;
  }
  venc_session_finish(session, now);
  session->slots[frame->slot].attachment = frame->attachment;
  session->slots[frame->slot].asked = TRUE;
  session->slots[frame->slot].is_inline = is_inline;
  session->asked_at = now;
  session->statistics.attaches++;
}

/* Makes room below the host's limit by detaching the buffer that was not used for longest. */
static gboolean make_room(VencSession *session, gint64 now) {
  VencSlot *oldest = NULL;
  guint attached = 0;
  for (guint i = 0; i < VSOCKENC_MAX_ATTACHED_BUFFERS; i++) {
    VencSlot *slot = &session->slots[i];
    if (slot->attachment == 0) continue;
    attached++;
    if (slot->in_use == 0 && !slot->asked && (!oldest || slot->last_use < oldest->last_use))
      oldest = slot;
  }
  if (attached < session->max_attached) return TRUE;
  if (!oldest) return FALSE;
  send_detach(session, now, (guint)(oldest - session->slots));
  return TRUE;
}

/*
 * FALSE: not yet. The host still reads from what has this number now, or has not answered the
 * Attach. The protocol would let frames follow at once, but then each would be lost of which the
 * buffer is refused, and that is how one learns that resources cannot be used.
 */
static gboolean ensure_attached(VencSession *session, gint64 now, const VencFrame *frame,
                                const VencPixels *pixels) {
  VencSlot *slot = &session->slots[frame->slot];
  VencLayout layout = frame->layout;
  if (slot->asked) return FALSE;
  if (slot->attachment == frame->attachment && slot->is_inline == (pixels != NULL))
    /* A host may keep inline pixels by the number of their buffer. */
    return !pixels || slot->in_use == 0;
  if (slot->in_use > 0) return FALSE;
  if (slot->attachment) send_detach(session, now, frame->slot);
  if (!make_room(session, now)) return FALSE;
  if (pixels) venc_pixels_place(pixels, &layout);
  send_attach(session, now, frame, &layout, pixels != NULL);
  return FALSE;
}

/* Times on the wire rise strictly within an epoch, also when the stream jumps back. */
static guint64 wire_pts(VencSession *session, const VencFrame *frame) {
  guint64 pts = frame->pts + (guint64)session->pts_shift;
  if (session->next_frame > 1 && pts <= session->last_pts) {
    guint64 step = CLAMP(frame->duration, G_TIME_SPAN_MILLISECOND * 1000, 1000000000u);
    session->pts_shift += (gint64)(session->last_pts + step - pts);
    pts = session->last_pts + step;
  }
  session->last_pts = pts;
  return pts;
}

/* Encodes into `sending`, because whether there is credit depends on the length. */
static gboolean send_frame(VencSession *session, gint64 now, VencFrame *frame,
                           const VencPixels *pixels) {
  if (session->bulk_sent + VSOCKENC_HEADER_BYTES + vsockenc_Frame_size > session->bulk_allowed)
    return FALSE;
  vsockenc_Frame *to = &venc_session_begin(session, vsockenc_MessageType_FRAME)->u.frame;
  frame->number = to->frame = ++session->next_frame;
  to->buffer = frame->slot;
  to->configuration = session->serial;
  to->pts_ns = wire_pts(session, frame);
  to->duration_ns = frame->duration;
  to->force_key = frame->force_key || session->force_next_key;
  if (pixels) to->inline_bytes = (uint32_t)venc_pixels_size(pixels);
  gsize size = venc_session_finish(session, now);
  session->force_next_key = FALSE;
  session->bulk_sent += size;
  session->statistics.frame_bytes_sent += size;
  session->slots[frame->slot].in_use++;
  session->slots[frame->slot].last_use = session->next_frame;
  frame->state = VENC_FRAME_SENT;
  frame->sent_at = now;
  if (pixels) venc_session_begin_pixels(session, frame, pixels);
  return TRUE;
}

/* FALSE: no more can be sent now. */
static gboolean try_frame(VencSession *session, gint64 now, VencFrame *frame) {
  const VencPixels *pixels = NULL;
  if (venc_session_is_inline(session, frame, now)) {
    g_autoptr(GError) error = NULL;
    pixels = frame->map(frame->hold, &error);
    if (!pixels) {
      venc_session_give_up(session, VENC_ERROR_REFUSED, error->message);
      return FALSE;
    }
  }
  return ensure_attached(session, now, frame, pixels) && send_frame(session, now, frame, pixels) &&
         venc_session_send_pixels(session, now);
}

/* TRUE when every frame has been sent. */
static gboolean send_frames(VencSession *session, gint64 now) {
  guint with_host = 0;
  guint limit = MIN(session->max_in_flight, session->host_in_flight);
  for (GList *at = session->frames.head; at; at = at->next) {
    VencFrame *frame = at->data;
    if (frame->state != VENC_FRAME_QUEUED) {
      with_host++;
      continue;
    }
    /* Access units that nobody has taken yet count too, so that a slow pipeline slows us down. */
    if (with_host + session->outputs.length + (session->output_busy ? 1 : 0) >= limit ||
        !try_frame(session, now, frame))
      return FALSE;
    with_host++;
  }
  return TRUE;
}

/* Attaches the buffer that is asked about, if need be, and asks. */
static void send_probe(VencSession *session, gint64 now) {
  const VencFrame *frame = session->probe_frame;
  if (!frame || session->probe_sent) return;
  const VencSlot *slot = &session->slots[frame->slot];
  if (slot->attachment != frame->attachment) {
    ensure_attached(session, now, frame, NULL);
  } else if (!slot->asked) {
    venc_session_begin(session, vsockenc_MessageType_PROBE)->u.probe.buffer = frame->slot;
    venc_session_finish(session, now);
    session->probe_sent = TRUE;
  }
}

void venc_session_pump(VencSession *session, gint64 now) {
  for (guint i = 0; i < VSOCKENC_MAX_ATTACHED_BUFFERS; i++)
    if (session->slots[i].detach && session->slots[i].in_use == 0 && !session->slots[i].asked)
      send_detach(session, now, i);
  if (!venc_session_send_pixels(session, now)) return;
  send_probe(session, now);
  /* A frame sent before the answer would be lost if the host refused. */
  if (!session->has_configuration || session->configuration_pending) return;
  if (session->configuration_changed) {
    send_configure(session, now);
    return;
  }
  if (send_frames(session, now) && session->draining > 0 && !session->drain_sent &&
      session->frames.length > 0) {
    venc_session_begin(session, vsockenc_MessageType_DRAIN)->u.drain.token = ++session->next_token;
    venc_session_finish(session, now);
    session->drain_sent = TRUE;
  }
}
