/*
 * Asks the host for the checksum of a buffer (proto/PROTOCOL.md, "Probe"): the whole path of the
 * pixels, without an encoder. One thread asks at a time; if the session is lost it is asked again.
 */
#ifndef VSOCKENC_SESSION_PROBE_H
#define VSOCKENC_SESSION_PROBE_H

#include "session.h"

typedef struct {
  const VencFrame *frame; /* whose buffer is asked about; NULL: none is */
  gboolean sent;
  VencProbe result;
  GError *error;
} VencProbing;

void venc_probing_clear(VencProbing *probing);
void venc_probing_end_epoch(VencProbing *probing);
/* Attaches the buffer if need be, and asks. */
void venc_probing_pump(VencSession *session);
/* The host refuses the buffer; FALSE: it was not asked about. */
gboolean venc_probing_refused(VencSession *session, guint buffer, const gchar *text);
void venc_probing_on_probed(VencSession *session, const vsockenc_Probed *probed);

#endif
