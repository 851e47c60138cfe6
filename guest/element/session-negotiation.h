/* The host's offer, the stream's configuration, and the host's answer to it. */
#ifndef VSOCKENC_SESSION_NEGOTIATION_H
#define VSOCKENC_SESSION_NEGOTIATION_H

#include "session.h"

typedef struct {
  VencHost host;
  gchar host_name[VSOCKENC_MAX_NAME_BYTES + 1];

  gboolean is_set;            /* there is a configuration, */
  gboolean changed;           /* not yet sent in this epoch, */
  gboolean pending;           /* sent and not answered */
  guint32 serial;             /* of the one that was sent last */
  guint waiting;              /* threads that wait for the answer */
  VencConfiguration wanted;   /* the newest */
  VencConfiguration sent;     /* the one of `serial` */
  VencConfiguration accepted; /* the last one that the host took, if it did in this epoch */
  gboolean has_accepted;
  vsockenc_Configured configured;
  gchar encoder_name[VSOCKENC_MAX_NAME_BYTES + 1]; /* the last that was not empty */
  GError *error;
} VencNegotiation;

void venc_negotiation_clear(VencNegotiation *negotiation);
void venc_negotiation_end_epoch(VencNegotiation *negotiation);
void venc_negotiation_take_offer(VencNegotiation *negotiation, const vsockenc_Welcome *welcome);
/* Sends Configure if need be; TRUE when frames may follow. */
gboolean venc_negotiation_pump(VencSession *session);
void venc_negotiation_on_configured(VencSession *session, const vsockenc_Configured *configured);
void venc_negotiation_on_error(VencSession *session, guint32 serial, const gchar *text);

#endif
