#include "session-private.h"

#include <string.h>

/* Outputs about the session that may wait; those of frames are bounded by the frames. */
#define MAX_NOTICES 16u

void venc_receiving_clear(VencReceiving *receiving) {
  g_queue_clear_full(&receiving->outputs, (GDestroyNotify)venc_output_free);
  g_free(receiving->unit);
}

static VencOutput *push_output(VencSession *session, VencOutputKind kind) {
  VencOutput *output = g_new0(VencOutput, 1);
  output->kind = kind;
  g_queue_push_tail(&session->receiving.outputs, output);
  g_cond_broadcast(&session->changed);
  return output;
}

void venc_receiving_notify(VencSession *session, VencOutputKind kind, gint code,
                           const gchar *text) {
  guint notices = 0;
  for (const GList *at = session->receiving.outputs.head; at; at = at->next)
    if (((VencOutput *)at->data)->frame == NULL) notices++;
  if (notices >= MAX_NOTICES && kind != VENC_OUTPUT_FAILED) return;
  VencOutput *output = push_output(session, kind);
  output->code = code;
  output->text = g_utf8_make_valid(text ? text : "", -1);
}

void venc_receiving_drop(VencSession *session, VencFrame *frame, VencDropCause cause) {
  venc_session_release_pixels(session, frame);
  if (frame->discard) {
    venc_session_free_later(session, frame);
    return;
  }
  venc_counters_add_drop(&session->counters, cause);
  VencOutput *output = push_output(session, VENC_OUTPUT_DROPPED);
  output->frame = frame;
  output->cause = cause;
}

void venc_receiving_flush(VencSession *session) {
  GQueue *outputs = &session->receiving.outputs;
  for (GList *at = outputs->head, *next; at; at = next) {
    VencOutput *output = at->data;
    next = at->next;
    if (!output->frame) continue;
    venc_counters_add_drop(&session->counters, VENC_DROPPED_FLUSHED);
    g_queue_delete_link(outputs, at);
    venc_session_free_later(session, g_steal_pointer(&output->frame));
    venc_output_free(output);
  }
}

VencOutput *venc_session_pop_output(VencSession *session) {
  VencReceiving *receiving = &session->receiving;
  VencOutput *output = NULL;
  g_autoptr(VencLocked) locked = venc_session_lock(session);
  while (!session->interrupted && !session->closing &&
         !(output = g_queue_pop_head(&receiving->outputs)))
    g_cond_wait(&session->changed, &session->lock);
  receiving->busy = output != NULL;
  return output;
}

void venc_session_output_done(VencSession *session) {
  g_autoptr(VencLocked) locked = venc_session_lock(session);
  session->receiving.busy = FALSE;
  g_cond_broadcast(&session->changed);
  venc_session_wake(session);
}

static void on_welcome(VencSession *session, const vsockenc_Welcome *welcome) {
  /* Otherwise it is the answer to a repeated Hello. */
  if (session->connection.state != VENC_STATE_OPENING) return;
  if (welcome->version != VSOCKENC_PROTOCOL_VERSION) {
    venc_session_refused(session, VENC_ERROR_REFUSED,
                         "the relay answers in a protocol version that was not offered");
    return;
  }
  venc_connection_opened(&session->connection, welcome);
  venc_attachments_opened(&session->attachments, welcome);
  venc_sending_opened(&session->sending, welcome);
  venc_source_opened(&session->source, welcome);
  venc_negotiation_take_offer(&session->negotiation, welcome);
  venc_session_opened(session);
}

/* A relay sends greetings while it has no session on the link. */
static void on_greeting(VencSession *session, const vsockenc_Greeting *greeting) {
  const VencConnection *connection = &session->connection;
  if (connection->state == VENC_STATE_OPEN)
    venc_session_lose(session, "%s",
                      greeting->host_boot_id == connection->boot_id
                          ? "the relay has forgotten the session"
                          : "the relay was replaced by another");
  else if (connection->state == VENC_STATE_OPENING)
    venc_connection_greeted(&session->connection);
}

/* A relay of an older version does not understand this one's Hello, and answers nothing. */
static void on_older_greeting(VencSession *session, guint version) {
  VencConnection *connection = &session->connection;
  g_autofree gchar *text = g_strdup_printf(
      "the relay speaks protocol version %u, the element version %u: upgrade vsockenc on the host, "
      "so that both sides have the same vsockenc version",
      version, VSOCKENC_PROTOCOL_VERSION);
  if (connection->state == VENC_STATE_OPEN) {
    venc_session_lose(session, "%s", text);
  } else if (connection->state == VENC_STATE_OPENING &&
             venc_connection_greeted_older(connection, text)) {
    venc_session_give_up(session, VENC_ERROR_REFUSED, text);
    venc_session_lose(session, "%s", text);
  }
}

static void on_packet(VencSession *session, const vsockenc_Packet *packet) {
  VencReceiving *receiving = &session->receiving;
  if (receiving->unit) {
    venc_session_violated(session, "Packet before the bytes of the one before");
  } else if (!venc_sending_answered(&session->sending, packet->frame)) {
    venc_session_violated(session, "Packet for a frame whose turn it is not");
  } else if (packet->size == 0 || packet->size > VSOCKENC_MAX_ACCESS_UNIT_BYTES) {
    venc_session_violated(session, "Packet of a size beyond MAX_ACCESS_UNIT_BYTES, or empty");
  } else if (!(receiving->unit = g_try_malloc(packet->size))) {
    venc_session_lose(session, "no memory for an access unit of %u bytes", packet->size);
  } else {
    receiving->received = 0;
    receiving->packet = *packet;
  }
}

static void finish_unit(VencSession *session) {
  VencReceiving *receiving = &session->receiving;
  VencFrame *frame = venc_sending_pop(&session->sending);
  venc_counters_add_packet(&session->counters, &receiving->packet,
                           g_get_monotonic_time() - frame->sent_at, frame->discard);
  venc_session_succeeded(session);
  venc_session_release_pixels(session, frame);
  if (frame->discard) {
    venc_session_free_later(session, frame);
    g_clear_pointer(&receiving->unit, g_free);
    return;
  }
  VencOutput *output = push_output(session, VENC_OUTPUT_PACKET);
  output->frame = frame;
  output->key = receiving->packet.key;
  output->bytes = g_steal_pointer(&receiving->unit);
  output->size = receiving->packet.size;
}

static void on_data(VencSession *session, const VencData *data) {
  VencReceiving *receiving = &session->receiving;
  const vsockenc_Packet *packet = &receiving->packet;
  if (!receiving->unit || data->frame != packet->frame || data->offset != receiving->received ||
      data->size > packet->size - receiving->received || data->size == 0) {
    venc_session_violated(session, "Data that does not continue the Packet before it");
    return;
  }
  memcpy(receiving->unit + receiving->received, data->bytes, data->size);
  receiving->received += data->size;
  if (receiving->received == packet->size) finish_unit(session);
}

static void on_dropped(VencSession *session, guint32 number, VencDropCause cause) {
  if (session->receiving.unit)
    venc_session_violated(session, "an answer before the bytes of the Packet before it");
  else if (!venc_sending_answered(&session->sending, number))
    venc_session_violated(session, "an answer for a frame whose turn it is not");
  else
    venc_receiving_drop(session, venc_sending_pop(&session->sending), cause);
}

static void on_frame_error(VencSession *session, const vsockenc_Error *error, const gchar *text) {
  const VencFrame *frame = venc_sending_find(&session->sending, error->id);
  /* The resource behind the frame has gone (with its exporter, say): attach it again. */
  if (frame && (error->code == vsockenc_ErrorCode_UNKNOWN_BUFFER ||
                error->code == vsockenc_ErrorCode_NO_SUCH_RESOURCE ||
                error->code == vsockenc_ErrorCode_NO_EXPORTER))
    venc_attachments_retire(&session->attachments, frame->slot);
  venc_receiving_notify(session, VENC_OUTPUT_WARNING, VENC_ERROR_REFUSED, text);
  on_dropped(session, error->id, VENC_DROPPED_ENCODER);
}

static void on_error(VencSession *session, const vsockenc_Error *error) {
  g_autofree gchar *text = g_utf8_make_valid(error->text, -1);
  if (error->code == vsockenc_ErrorCode_VERSION_MISMATCH) {
    venc_session_give_up(session, VENC_ERROR_REFUSED, text);
    venc_session_lose(session, "%s", text);
  } else if (error->fatal) {
    venc_session_refused(session, VENC_ERROR_REFUSED, text);
  } else if (error->subject == vsockenc_ErrorSubject_CONFIGURATION) {
    venc_negotiation_on_error(session, error->id, text);
  } else if (error->subject == vsockenc_ErrorSubject_BUFFER) {
    venc_attachments_on_error(session, error->id, text);
  } else if (error->subject == vsockenc_ErrorSubject_FRAME_NUMBER) {
    on_frame_error(session, error, text);
  } else {
    venc_receiving_notify(session, VENC_OUTPUT_WARNING, VENC_ERROR_REFUSED, text);
  }
}

static void on_message(VencSession *session, const VencMessage *message) {
  VencConnection *connection = &session->connection;
  switch (message->header.type) {
    case vsockenc_MessageType_WELCOME:
      on_welcome(session, &message->u.welcome);
      break;
    case vsockenc_MessageType_PING:
      venc_connection_begin(connection, vsockenc_MessageType_PONG)->u.pong.token =
          message->u.ping.token;
      venc_connection_send(connection);
      break;
    case vsockenc_MessageType_BYE:
      venc_session_lose(session, "the relay said goodbye%s%s", *message->u.bye.text ? ": " : "",
                        message->u.bye.text);
      break;
    case vsockenc_MessageType_CREDIT:
      venc_connection_add_credit(connection, message->u.credit.granted_bytes);
      break;
    case vsockenc_MessageType_ERROR:
      on_error(session, &message->u.error);
      break;
    case vsockenc_MessageType_CONFIGURED:
      venc_negotiation_on_configured(session, &message->u.configured);
      break;
    case vsockenc_MessageType_ATTACHED:
      venc_attachments_on_attached(session, &message->u.attached);
      break;
    case vsockenc_MessageType_PROBED:
      venc_probing_on_probed(session, &message->u.probed);
      break;
    case vsockenc_MessageType_FRAME_DONE:
      venc_sending_on_frame_done(session, message->u.frame_done.frame);
      break;
    case vsockenc_MessageType_PACKET:
      on_packet(session, &message->u.packet);
      break;
    case vsockenc_MessageType_DROPPED:
      on_dropped(session, message->u.dropped.frame,
                 message->u.dropped.reason == vsockenc_DropReason_FLUSHED_BY_GUEST
                     ? VENC_DROPPED_FLUSHED
                     : VENC_DROPPED_ENCODER);
      break;
    case vsockenc_MessageType_DATA:
      on_data(session, &message->u.data);
      break;
    default: /* Pong, Drained and Flushed need no action */
      break;
  }
}

void venc_receiving_pump(VencSession *session) {
  VencConnection *connection = &session->connection;
  VencWireResult result;
  const VencMessage *message;
  while ((result = venc_connection_next(connection, &message)) != VENC_WIRE_INCOMPLETE) {
    if (result == VENC_WIRE_OLDER) {
      on_older_greeting(session, message->header.version);
      continue;
    }
    if (message->header.type == vsockenc_MessageType_GREETING && message->header.epoch == 0) {
      if (result == VENC_WIRE_MESSAGE) on_greeting(session, &message->u.greeting);
      continue;
    }
    /* Messages of another epoch are meant for a predecessor. */
    if (connection->epoch == 0 || message->header.epoch != connection->epoch) continue;
    VencAccount account = venc_connection_account(connection, message);
    if (account == VENC_ACCOUNT_GAP)
      venc_session_lose(session, "bytes from the host were lost");
    else if (account == VENC_ACCOUNT_EXCESS)
      venc_session_violated(session, "more bytes than were granted");
    else if (result == VENC_WIRE_MALFORMED)
      venc_session_violated(session, "a message body that does not match its type");
    else if (result == VENC_WIRE_MESSAGE)
      on_message(session, message);
  }
  if (connection->state == VENC_STATE_OPEN) venc_connection_send_credit(connection);
}
