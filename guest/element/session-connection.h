/*
 * The connection to the relay: link, bytes, epoch, sequence numbers and credits (proto/PROTOCOL.md,
 * "Opening" and "Credits"). It knows no frame. Times are g_get_monotonic_time().
 */
#ifndef VSOCKENC_SESSION_CONNECTION_H
#define VSOCKENC_SESSION_CONNECTION_H

#include "link.h"
#include "session.h"

#define VENC_MS(n) ((gint64)(n)*G_TIME_SPAN_MILLISECOND)

typedef enum {
  VENC_STATE_CLOSED,  /* no link, or no relay at its other end */
  VENC_STATE_OPENING, /* Hello is sent and repeated */
  VENC_STATE_OPEN,
} VencState;

typedef struct {
  VencAddress address;
  gchar *software;
  VencLink link;
  VencParser parser;
  VencMessage received, message; /* `message` is being sent */
  GByteArray *out;               /* bytes that the link has not taken */
  GError *error;                 /* why the last opening did not succeed */

  VencState state;
  guint32 epoch, boot_id;
  guint hellos; /* sent in this epoch */
  guint32 sequence_out, sequence_in, last_token;
  guint backoff_ms;
  gint64 retry_at, hello_at, ping_at, link_opened_at, last_received, last_sent;
  /* Credits: totals of this epoch. */
  guint64 bulk_sent, bulk_allowed, bulk_received, bulk_granted;
  guint64 bytes_sent, bytes_received, openings;
} VencConnection;

typedef enum { VENC_ACCOUNT_OK, VENC_ACCOUNT_GAP, VENC_ACCOUNT_EXCESS } VencAccount;

void venc_connection_init(VencConnection *connection, const VencAddress *address,
                          const gchar *software);
void venc_connection_clear(VencConnection *connection);

/* Opens the link unless it is; FALSE with `error` set. */
gboolean venc_connection_open_link(VencConnection *connection);
/* The link has ended for the errno `reason`, which sets `error`. */
void venc_connection_end_link(VencConnection *connection, int reason);
void venc_connection_begin_epoch(VencConnection *connection);
void venc_connection_end_epoch(VencConnection *connection);
void venc_connection_opened(VencConnection *connection, const vsockenc_Welcome *welcome);
/* Closes what can be closed, and sets the time of the next attempt. */
void venc_connection_lost(VencConnection *connection);
/* The next attempt after a loss need not wait. */
void venc_connection_reset_backoff(VencConnection *connection);

/* Writes what the link takes; FALSE when the link has ended. */
gboolean venc_connection_write(VencConnection *connection);
/* Reads once into the parser: bytes, 0 for "not now", -1 when the link has ended. */
gssize venc_connection_read(VencConnection *connection);
/* Takes the next message out of what was read. It is valid until the next call. */
VencWireResult venc_connection_next(VencConnection *connection, const VencMessage **message);
/* Sequence and credits of a message of this epoch. */
VencAccount venc_connection_account(VencConnection *connection, const VencMessage *message);
void venc_connection_add_credit(VencConnection *connection, guint64 granted_bytes);

/* A new message, all fields 0; the next call sends it and returns its length. */
VencMessage *venc_connection_begin(VencConnection *connection, vsockenc_MessageType type);
gsize venc_connection_send(VencConnection *connection);
/* The same for a message that costs credit, and whether there is enough of it. */
gsize venc_connection_send_bulk(VencConnection *connection);
gboolean venc_connection_has_credit(const VencConnection *connection, gsize bytes);
guint32 venc_connection_next_token(VencConnection *connection);
/* Hello, or nothing while the one before has not been taken. */
void venc_connection_repeat_hello(VencConnection *connection);
void venc_connection_send_ping(VencConnection *connection);
void venc_connection_send_credit(VencConnection *connection);
/* Also writes it, as the link is closed next. */
void venc_connection_send_error(VencConnection *connection, const gchar *text);

#endif
