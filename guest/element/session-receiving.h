/*
 * The host's messages, and the outputs made of them. The guest trusts the host as little as the
 * host trusts the guest: every number is checked against what was sent, and a message that breaks a
 * rule of proto/PROTOCOL.md ends the session.
 */
#ifndef VSOCKENC_SESSION_RECEIVING_H
#define VSOCKENC_SESSION_RECEIVING_H

#include "session.h"

typedef struct {
  GQueue outputs;
  gboolean busy; /* an output has been popped and is being pushed */
  /* The access unit being received, and the Packet that announced it. */
  guint8 *unit;
  gsize received;
  vsockenc_Packet packet;
} VencReceiving;

void venc_receiving_clear(VencReceiving *receiving);
void venc_receiving_end_epoch(VencReceiving *receiving);
/* Acts on every whole message that the connection has. */
void venc_receiving_pump(VencSession *session);
/* An output about the session, and one for a frame that was taken out of the sending ones. */
void venc_receiving_notify(VencSession *session, VencOutputKind kind, gint code, const gchar *text);
void venc_receiving_drop(VencSession *session, VencFrame *frame, VencDropCause cause);
/* Forgets the outputs of frames. */
void venc_receiving_flush(VencSession *session);
/* Outputs that are not out yet, the popped one included. */
guint venc_receiving_pending(const VencReceiving *receiving);

#endif
