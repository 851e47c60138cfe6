/*
 * What the host says. It is believed as little as a stranger: every number is checked against what
 * was asked of it, and a message that breaks a rule of proto/PROTOCOL.md ends the session.
 */
#include <string.h>

#include "session-private.h"

#define NO_RESOURCES                                                                              \
  "the relay reaches no virtio-gpu of this virtual machine. On the host, run `vsockenc gpu` for " \
  "it and name its export socket in the relay's configuration"

/* The host is told, in case it is a newer one whose maker reads its log. */
static void violated(VencSession *session, gint64 now, const gchar *what) {
  g_autofree gchar *text = g_strdup_printf("the host broke the protocol: %s", what);
  venc_session_send_error(session, now, what);
  while (session->out->len > 0) {
    gssize n = venc_link_write(&session->link, session->out->data, session->out->len);
    if (n <= 0) break;
    g_byte_array_remove_range(session->out, 0, (guint)n);
  }
  venc_session_refused(session, now, VENC_ERROR_REFUSED, text);
}

/* GLib's texts must be UTF-8, and what the host calls itself may be anything. */
static void copy_name(gchar *to, gsize size, const gchar *from) {
  g_autofree gchar *valid = g_utf8_make_valid(from, -1);
  gsize length = MIN(strlen(valid), size - 1);
  while (length > 0 && (valid[length] & 0xc0) == 0x80) length--;
  memcpy(to, valid, length);
  to[length] = 0;
}

static void add_sample(VencSession *session, VencStage stage, guint32 us) {
  VencSamples *samples = &session->samples[stage];
  samples->values[samples->count++ % VENC_SAMPLES] = us;
}

/* The numbers of lists are nanopb's, which has checked them against the lists' bounds. */
static void take_host(VencSession *session, const vsockenc_Welcome *welcome) {
  VencHost *host = &session->host;
  host->n_encoders = welcome->encoders_count;
  for (guint i = 0; i < host->n_encoders; i++) {
    host->encoders[i] = welcome->encoders[i];
    copy_name(host->encoders[i].name, sizeof host->encoders[i].name, welcome->encoders[i].name);
  }
  host->n_modifiers = welcome->modifiers_count;
  for (guint i = 0; i < host->n_modifiers; i++)
    host->modifiers[i] = (guint64)welcome->modifiers[i].high << 32 | welcome->modifiers[i].low;
}

static void on_welcome(VencSession *session, gint64 now, const vsockenc_Welcome *welcome) {
  if (session->state != VENC_STATE_OPENING) return; /* the answer to a repeated Hello */
  if (welcome->version != VSOCKENC_PROTOCOL_VERSION) {
    venc_session_refused(session, now, VENC_ERROR_REFUSED,
                         "the relay answers in a protocol version that was not offered");
    return;
  }
  session->state = VENC_STATE_OPEN;
  session->boot_id = welcome->host_boot_id;
  session->bulk_allowed = welcome->window_bytes;
  session->bulk_granted = VSOCKENC_HOST_WINDOW_BYTES;
  session->max_attached = CLAMP(welcome->max_attached, 1, VSOCKENC_MAX_ATTACHED_BUFFERS);
  session->host_in_flight = CLAMP(welcome->max_in_flight, 1, VSOCKENC_MAX_IN_FLIGHT_FRAMES);
  session->last_received = session->last_sent = session->ping_at = now;
  session->was_open = TRUE;
  g_clear_error(&session->link_error);
  session->statistics.sessions++;
  copy_name(session->statistics.host, sizeof session->statistics.host, welcome->software);
  g_clear_pointer(&session->refusal, g_free);
  if (!welcome->resources) {
    venc_session_refuse_resources(session, now, NO_RESOURCES);
    session->ask_again_at = now; /* its exporter may have come since */
  }
  take_host(session, welcome);
  if (session->announce) venc_session_push_output(session, VENC_OUTPUT_BACK, 0, NULL);
  session->announce = FALSE;
  g_cond_broadcast(&session->changed);
}

static void on_greeting(VencSession *session, gint64 now, const vsockenc_Greeting *greeting) {
  /* Greetings are sent while there is no session: the relay has not heard of ours, or forgot it. */
  if (session->state == VENC_STATE_OPEN)
    venc_session_lose(session, now, "%s",
                      greeting->host_boot_id == session->boot_id
                          ? "the relay has forgotten the session"
                          : "the relay was replaced by another");
  else if (session->state == VENC_STATE_OPENING && session->out->len == 0)
    venc_session_send_hello(session, now);
}

static void on_configured(VencSession *session, gint64 now, const vsockenc_Configured *configured) {
  if (!session->configuration_pending || configured->serial != session->serial) {
    violated(session, now, "Configured for a serial that was not asked for");
    return;
  }
  session->configuration_pending = FALSE;
  session->configured = *configured;
  copy_name(session->configured.encoder, sizeof session->configured.encoder, configured->encoder);
  session->accepted = session->sent;
  session->has_accepted = TRUE;
  session->backoff_ms = 0;
  copy_name(session->statistics.encoder, sizeof session->statistics.encoder, configured->encoder);
  g_cond_broadcast(&session->changed);
}

static void on_configuration_error(VencSession *session, gint64 now, const vsockenc_Error *error) {
  if (!session->configuration_pending || error->id != session->serial) {
    violated(session, now, "Error about a serial that was not asked for");
    return;
  }
  g_autofree gchar *text = g_utf8_make_valid(error->text, -1);
  session->configuration_pending = FALSE;
  if (session->has_accepted) {
    /* A change on the way was refused: go on as before. */
    venc_session_push_output(session, VENC_OUTPUT_WARNING, VENC_ERROR_CONFIGURATION, text);
    session->configuration = session->accepted;
    session->configuration_changed = TRUE;
    session->has_accepted = FALSE;
  } else if (session->configuring == 0) {
    /* It was good enough for the host before this one. */
    venc_session_refused(session, now, VENC_ERROR_CONFIGURATION, text);
    return;
  } else {
    session->has_configuration = FALSE;
  }
  g_clear_error(&session->configuration_error);
  session->configuration_error = g_error_new_literal(VENC_ERROR, VENC_ERROR_CONFIGURATION, text);
  g_cond_broadcast(&session->changed);
}

/* The slot whose Attach is being answered, or NULL after a violation. */
static VencSlot *answered_slot(VencSession *session, gint64 now, guint32 buffer) {
  if (buffer >= VSOCKENC_MAX_ATTACHED_BUFFERS || !session->slots[buffer].asked) {
    violated(session, now, "an answer about a buffer that was not asked for");
    return NULL;
  }
  VencSlot *slot = &session->slots[buffer];
  slot->asked = FALSE;
  session->asked_at = 0;
  for (guint i = 0; i < VSOCKENC_MAX_ATTACHED_BUFFERS; i++)
    if (session->slots[i].asked) session->asked_at = now;
  return slot;
}

static void on_attached(VencSession *session, gint64 now, const vsockenc_Attached *attached) {
  VencSlot *slot = answered_slot(session, now, attached->buffer);
  if (!slot) return;
  slot->tier = attached->tier;
  session->statistics.runs = attached->runs;
  /* Resources can be used, again perhaps. */
  if (!slot->is_inline) g_clear_pointer(&session->refusal, g_free);
}

static void on_buffer_error(VencSession *session, gint64 now, const vsockenc_Error *error,
                            const gchar *text) {
  if (session->probe_sent && venc_session_probe_refused(session, error->id, text)) return;
  VencSlot *slot = answered_slot(session, now, error->id);
  if (!slot) return;
  if (venc_session_probe_refused(session, error->id, text)) {
    memset(slot, 0, sizeof *slot);
    return;
  }
  if (slot->is_inline) {
    /* There is no other way. */
    venc_session_refused(session, now, VENC_ERROR_REFUSED, text);
    return;
  }
  memset(slot, 0, sizeof *slot);
  venc_session_refuse_resources(session, now, text);
}

static VencFrame *find_frame(VencSession *session, guint32 number) {
  for (GList *at = session->frames.head; at; at = at->next) {
    VencFrame *frame = at->data;
    if (frame->state != VENC_FRAME_QUEUED && frame->number == number) return frame;
  }
  return NULL;
}

/* The frame that must be answered next, or NULL after a violation. */
static VencFrame *answered_frame(VencSession *session, gint64 now, guint32 number,
                                 const gchar *what) {
  VencFrame *frame = g_queue_peek_head(&session->frames);
  if (frame && frame->state == VENC_FRAME_READ && frame->number == number) return frame;
  violated(session, now, what);
  return NULL;
}

static void on_frame_done(VencSession *session, gint64 now, guint32 number) {
  VencFrame *frame = find_frame(session, number);
  if (!frame || frame->state != VENC_FRAME_SENT) {
    violated(session, now, "FrameDone for a frame that is not being read");
    return;
  }
  frame->state = VENC_FRAME_READ;
  session->slots[frame->slot].in_use--;
  session->statistics.tier = session->slots[frame->slot].tier;
  session->statistics.copied = frame->copied;
  if (!session->lossless || frame->discard) venc_session_unhold(session, frame);
}

static void on_packet(VencSession *session, gint64 now, const vsockenc_Packet *packet) {
  if (session->unit) {
    violated(session, now, "Packet before the bytes of the one before");
    return;
  }
  if (!answered_frame(session, now, packet->frame, "Packet for a frame whose turn it is not"))
    return;
  if (packet->size == 0 || packet->size > VSOCKENC_MAX_ACCESS_UNIT_BYTES) {
    violated(session, now, "Packet of a size beyond MAX_ACCESS_UNIT_BYTES, or empty");
    return;
  }
  session->unit = g_try_malloc(packet->size);
  if (!session->unit) {
    venc_session_lose(session, now, "no memory for an access unit of %u bytes", packet->size);
    return;
  }
  session->unit_size = packet->size;
  session->unit_received = 0;
  session->unit_packet = *packet;
}

static void finish_unit(VencSession *session, gint64 now) {
  const vsockenc_Packet *packet = &session->unit_packet;
  VencFrame *frame = g_queue_pop_head(&session->frames);
  gint64 round_trip = now - frame->sent_at;

  add_sample(session, VENC_STAGE_QUEUE, packet->queue_us);
  add_sample(session, VENC_STAGE_CONVERT, packet->convert_us);
  add_sample(session, VENC_STAGE_ENCODE, packet->encode_us);
  add_sample(session, VENC_STAGE_ROUND_TRIP, (guint32)CLAMP(round_trip, 0, G_MAXUINT32));
  session->refused_since = 0;
  venc_session_unhold(session, frame);
  if (frame->discard) {
    venc_session_discard(session, frame);
    g_clear_pointer(&session->unit, g_free);
    return;
  }
  session->statistics.packets++;
  if (packet->key) session->statistics.key_frames++;
  VencOutput *output = g_new0(VencOutput, 1);
  output->kind = VENC_OUTPUT_PACKET;
  output->frame = frame;
  output->key = packet->key;
  output->bytes = g_steal_pointer(&session->unit);
  output->size = session->unit_size;
  g_queue_push_tail(&session->outputs, output);
  g_cond_broadcast(&session->changed);
}

static void on_data(VencSession *session, gint64 now, const VencData *data) {
  if (!session->unit || data->frame != session->unit_packet.frame ||
      data->offset != session->unit_received ||
      data->size > session->unit_size - session->unit_received || data->size == 0) {
    violated(session, now, "Data that does not continue the Packet before it");
    return;
  }
  memcpy(session->unit + session->unit_received, data->bytes, data->size);
  session->unit_received += data->size;
  if (session->unit_received == session->unit_size) finish_unit(session, now);
}

static void on_dropped(VencSession *session, gint64 now, guint32 number, VencDropCause cause) {
  if (session->unit) {
    violated(session, now, "an answer before the bytes of the Packet before it");
    return;
  }
  VencFrame *frame =
      answered_frame(session, now, number, "an answer for a frame whose turn it is not");
  if (!frame) return;
  g_queue_pop_head(&session->frames);
  venc_session_push_dropped(session, frame, cause);
}

/* The resource behind a frame has gone (with its exporter, say): ask for it anew. */
static void on_lost_buffer(VencSession *session, const vsockenc_Error *error) {
  const VencFrame *frame = find_frame(session, error->id);
  if (frame && (error->code == vsockenc_ErrorCode_UNKNOWN_BUFFER ||
                error->code == vsockenc_ErrorCode_NO_SUCH_RESOURCE ||
                error->code == vsockenc_ErrorCode_NO_EXPORTER))
    session->slots[frame->slot].detach = TRUE;
}

static void on_error(VencSession *session, gint64 now, const vsockenc_Error *error) {
  g_autofree gchar *text = g_utf8_make_valid(error->text, -1);
  if (error->code == vsockenc_ErrorCode_VERSION_MISMATCH) {
    venc_session_give_up(session, VENC_ERROR_REFUSED, text);
    venc_session_lose(session, now, "%s", text);
    return;
  }
  if (error->fatal) {
    venc_session_refused(session, now, VENC_ERROR_REFUSED, text);
    return;
  }
  switch (error->subject) {
    case vsockenc_ErrorSubject_CONFIGURATION:
      on_configuration_error(session, now, error);
      break;
    case vsockenc_ErrorSubject_BUFFER:
      on_buffer_error(session, now, error, text);
      break;
    case vsockenc_ErrorSubject_FRAME_NUMBER:
      on_lost_buffer(session, error);
      venc_session_push_output(session, VENC_OUTPUT_WARNING, VENC_ERROR_REFUSED, text);
      on_dropped(session, now, error->id, VENC_DROPPED_ENCODER);
      break;
    default:
      venc_session_push_output(session, VENC_OUTPUT_WARNING, VENC_ERROR_REFUSED, text);
      break;
  }
}

static gboolean is_bulk(guint8 type) {
  return type == vsockenc_MessageType_PACKET || type == vsockenc_MessageType_DATA;
}

/* Sequence and credits of a message of this epoch; FALSE when the session is lost by it. */
static gboolean account(VencSession *session, gint64 now, const VencMessage *message) {
  if (message->header.type == vsockenc_MessageType_WELCOME) return TRUE;
  if (message->header.sequence != ++session->sequence_in) {
    venc_session_lose(session, now, "bytes from the host were lost");
    return FALSE;
  }
  if (!is_bulk(message->header.type)) return TRUE;
  session->bulk_received += message->wire_bytes;
  if (session->bulk_received <= session->bulk_granted) return TRUE;
  violated(session, now, "more bytes than were granted");
  return FALSE;
}

static void on_message(VencSession *session, gint64 now, const VencMessage *message) {
  switch (message->header.type) {
    case vsockenc_MessageType_WELCOME:
      on_welcome(session, now, &message->u.welcome);
      break;
    case vsockenc_MessageType_PING:
      venc_session_send_pong(session, now, message->u.ping.token);
      break;
    case vsockenc_MessageType_BYE:
      venc_session_lose(session, now, "the relay said goodbye%s%s",
                        *message->u.bye.text ? ": " : "", message->u.bye.text);
      break;
    case vsockenc_MessageType_CREDIT:
      session->bulk_allowed = MAX(session->bulk_allowed, message->u.credit.granted_bytes);
      break;
    case vsockenc_MessageType_ERROR:
      on_error(session, now, &message->u.error);
      break;
    case vsockenc_MessageType_CONFIGURED:
      on_configured(session, now, &message->u.configured);
      break;
    case vsockenc_MessageType_ATTACHED:
      on_attached(session, now, &message->u.attached);
      break;
    case vsockenc_MessageType_PROBED:
      if (!venc_session_on_probed(session, &message->u.probed))
        violated(session, now, "Probed for a buffer that was not asked about");
      break;
    case vsockenc_MessageType_FRAME_DONE:
      on_frame_done(session, now, message->u.frame_done.frame);
      break;
    case vsockenc_MessageType_PACKET:
      on_packet(session, now, &message->u.packet);
      break;
    case vsockenc_MessageType_DROPPED:
      on_dropped(session, now, message->u.dropped.frame,
                 message->u.dropped.reason == vsockenc_DropReason_FLUSHED_BY_GUEST
                     ? VENC_DROPPED_FLUSHED
                     : VENC_DROPPED_ENCODER);
      break;
    case vsockenc_MessageType_DATA:
      on_data(session, now, &message->u.data);
      break;
    default: /* Pong, Drained, Flushed: that they came is all there is to know */
      break;
  }
}

void venc_session_receive(VencSession *session, gint64 now) {
  VencMessage *message = &session->received;
  for (;;) {
    VencWireResult result = venc_parser_next(&session->parser, message);
    if (result == VENC_WIRE_INCOMPLETE) break;
    if (message->header.type == vsockenc_MessageType_GREETING && message->header.epoch == 0) {
      if (result == VENC_WIRE_MESSAGE) on_greeting(session, now, &message->u.greeting);
      continue;
    }
    /* Old or foreign: meant for a predecessor. */
    if (session->epoch == 0 || message->header.epoch != session->epoch) continue;
    session->last_received = now;
    if (!account(session, now, message)) continue;
    if (result == VENC_WIRE_MALFORMED)
      violated(session, now, "a body that is not what its type says");
    else if (result == VENC_WIRE_MESSAGE)
      on_message(session, now, message);
  }
  if (session->state == VENC_STATE_OPEN) venc_session_send_credit(session, now);
}
