#include "session-private.h"

#include <string.h>
#include <sys/random.h>

#define FIRST_BACKOFF_MS 50u
#define LAST_BACKOFF_MS 500u

void venc_connection_init(VencConnection *connection, const VencAddress *address,
                          const gchar *software) {
  connection->address = *address;
  connection->address.device = g_strdup(address->device);
  connection->address.socket_path = g_strdup(address->socket_path);
  connection->address.tcp_host = g_strdup(address->tcp_host);
  connection->software = g_strndup(software, VSOCKENC_MAX_NAME_BYTES);
  connection->link.fd = -1;
  connection->out = g_byte_array_new();
  connection->backoff_ms = FIRST_BACKOFF_MS;
}

void venc_connection_clear(VencConnection *connection) {
  venc_link_close(&connection->link);
  g_free(connection->link.name);
  venc_address_clear(&connection->address);
  g_byte_array_unref(connection->out);
  g_clear_error(&connection->error);
  g_free(connection->software);
}

static void retry_later(VencConnection *connection) {
  connection->retry_at = g_get_monotonic_time() + VENC_MS(connection->backoff_ms);
  connection->backoff_ms = CLAMP(connection->backoff_ms * 2, FIRST_BACKOFF_MS, LAST_BACKOFF_MS);
}

gboolean venc_connection_open_link(VencConnection *connection) {
  if (connection->link.fd < 0) {
    GError *error = NULL;
    if (!venc_link_open(&connection->link, &connection->address, &error)) {
      g_clear_error(&connection->error);
      connection->error = error;
      retry_later(connection);
      return FALSE;
    }
    venc_parser_reset(&connection->parser);
    connection->older_at = 0;
    connection->link_opened_at = g_get_monotonic_time();
  }
  /* A socket is still connecting: the last error may occur again. */
  if (connection->link.port) g_clear_error(&connection->error);
  return TRUE;
}

void venc_connection_end_link(VencConnection *connection, int reason) {
  connection->link.reason = reason;
  g_clear_error(&connection->error);
  venc_link_set_error(&connection->link, &connection->error);
  venc_link_close(&connection->link);
}

static guint32 random_epoch(void) {
  guint32 epoch = 0;
  while (epoch == 0)
    if (getrandom(&epoch, sizeof epoch, GRND_NONBLOCK) != sizeof epoch) epoch = g_random_int();
  return epoch;
}

static void send_hello(VencConnection *connection) {
  vsockenc_Hello *hello = &venc_connection_begin(connection, vsockenc_MessageType_HELLO)->u.hello;
  hello->version_min = hello->version_max = VSOCKENC_PROTOCOL_VERSION;
  hello->window_bytes = VSOCKENC_HOST_WINDOW_BYTES;
  g_strlcpy(hello->software, connection->software, sizeof hello->software);
  venc_connection_send(connection);
  connection->hello_at = connection->last_sent + VENC_MS(VSOCKENC_HELLO_INTERVAL_MS);
}

void venc_connection_begin_epoch(VencConnection *connection) {
  connection->epoch = random_epoch();
  connection->state = VENC_STATE_OPENING;
  connection->last_received = g_get_monotonic_time();
  connection->repetitions = 0;
  send_hello(connection);
}

void venc_connection_end_epoch(VencConnection *connection) {
  connection->epoch = 0;
  connection->sequence_in = connection->sequence_out = 0;
  connection->bulk_sent = connection->bulk_allowed = 0;
  connection->bulk_received = connection->bulk_granted = 0;
  g_byte_array_set_size(connection->out, 0);
}

void venc_connection_opened(VencConnection *connection, const vsockenc_Welcome *welcome) {
  gint64 now = g_get_monotonic_time();
  connection->state = VENC_STATE_OPEN;
  connection->boot_id = welcome->host_boot_id;
  connection->bulk_allowed = welcome->window_bytes;
  connection->bulk_granted = VSOCKENC_HOST_WINDOW_BYTES;
  connection->last_received = connection->last_sent = connection->ping_at = now;
  connection->openings++;
  connection->older_at = 0;
  g_clear_error(&connection->error);
}

void venc_connection_lost(VencConnection *connection) {
  if (!connection->link.port) venc_link_close(&connection->link);
  connection->state = VENC_STATE_CLOSED;
  retry_later(connection);
}

gboolean venc_connection_write(VencConnection *connection) {
  while (connection->out->len > 0 && connection->link.fd >= 0) {
    gsize size = MIN(connection->out->len, VSOCKENC_MAX_MESSAGE_BYTES);
    gssize n = venc_link_write(&connection->link, connection->out->data, size);
    if (n <= 0) return n == 0;
    connection->bytes_sent += (guint64)n;
    g_byte_array_remove_range(connection->out, 0, (guint)n);
  }
  return TRUE;
}

gssize venc_connection_read(VencConnection *connection) {
  gsize room;
  guint8 *space = venc_parser_space(&connection->parser, &room);
  gssize n = venc_link_read(&connection->link, space, room);
  if (n > 0) {
    connection->bytes_received += (guint64)n;
    venc_parser_commit(&connection->parser, (gsize)n);
  }
  return n;
}

VencWireResult venc_connection_next(VencConnection *connection, const VencMessage **message) {
  *message = &connection->received;
  return venc_parser_next(&connection->parser, &connection->received);
}

VencAccount venc_connection_account(VencConnection *connection, const VencMessage *message) {
  guint8 type = message->header.type;
  connection->last_received = g_get_monotonic_time();
  if (type == vsockenc_MessageType_WELCOME) return VENC_ACCOUNT_OK;
  if (message->header.sequence != ++connection->sequence_in) return VENC_ACCOUNT_GAP;
  if (type == vsockenc_MessageType_PACKET || type == vsockenc_MessageType_DATA)
    connection->bulk_received += message->wire_bytes;
  return connection->bulk_received <= connection->bulk_granted ? VENC_ACCOUNT_OK
                                                               : VENC_ACCOUNT_EXCESS;
}

VencMessage *venc_connection_begin(VencConnection *connection, vsockenc_MessageType type) {
  VencMessage *message = &connection->message;
  memset(message, 0, sizeof *message);
  message->header.type = (guint8)type;
  message->header.epoch = connection->epoch;
  return message;
}

gsize venc_connection_send(VencConnection *connection) {
  VencMessage *message = &connection->message;
  GByteArray *out = connection->out;
  guint before = out->len;
  if (message->header.type != vsockenc_MessageType_HELLO)
    message->header.sequence = ++connection->sequence_out;
  /* The guest's messages are small; the array keeps the room for the next one. */
  g_byte_array_set_size(out, before + VSOCKENC_MAX_MESSAGE_BYTES);
  gsize size = venc_wire_encode(message, out->data + before, VSOCKENC_MAX_MESSAGE_BYTES);
  g_byte_array_set_size(out, before + (guint)size);
  connection->last_sent = g_get_monotonic_time();
  return size;
}

gsize venc_connection_send_bulk(VencConnection *connection) {
  gsize size = venc_connection_send(connection);
  connection->bulk_sent += size;
  return size;
}

void venc_connection_repeat_hello(VencConnection *connection) {
  if (connection->out->len > 0) {
    connection->hello_at = g_get_monotonic_time() + VENC_MS(VSOCKENC_HELLO_INTERVAL_MS);
    return;
  }
  if (++connection->repetitions == 2) {
    /* Two have no answer: perhaps they were taken for the rest of a predecessor's message. */
    static const guint8 nuls[VSOCKENC_FLUSH_NULS];
    g_byte_array_append(connection->out, nuls, sizeof nuls);
  }
  send_hello(connection);
}

void venc_connection_greeted(VencConnection *connection) {
  connection->older_at = 0;
  if (connection->out->len == 0) send_hello(connection);
}

gboolean venc_connection_greeted_older(VencConnection *connection, const gchar *text) {
  gint64 now = g_get_monotonic_time();
  if (connection->older_at == 0) connection->older_at = now;
  g_clear_error(&connection->error);
  connection->error = g_error_new_literal(VENC_ERROR, VENC_ERROR_REFUSED, text);
  /* What a port still holds of a relay that was replaced comes at once; a relay goes on greeting.
   */
  return now - connection->older_at >= VENC_MS(VSOCKENC_GREETING_INTERVAL_MS) / 2;
}

void venc_connection_send_ping(VencConnection *connection) {
  venc_connection_begin(connection, vsockenc_MessageType_PING)->u.ping.token =
      venc_connection_next_token(connection);
  venc_connection_send(connection);
  connection->ping_at = connection->last_sent;
}

void venc_connection_send_credit(VencConnection *connection) {
  guint64 granted = connection->bulk_received + VSOCKENC_HOST_WINDOW_BYTES;
  if (granted - connection->bulk_granted < VSOCKENC_HOST_WINDOW_BYTES / 4) return;
  connection->bulk_granted = granted;
  venc_connection_begin(connection, vsockenc_MessageType_CREDIT)->u.credit.granted_bytes = granted;
  venc_connection_send(connection);
}

void venc_connection_send_error(VencConnection *connection, const gchar *text) {
  vsockenc_Error *error = &venc_connection_begin(connection, vsockenc_MessageType_ERROR)->u.error;
  error->code = vsockenc_ErrorCode_PROTOCOL_VIOLATION;
  error->fatal = true;
  g_strlcpy(error->text, text, sizeof error->text);
  venc_connection_send(connection);
  venc_connection_write(connection);
}
