/*
 * The way to the host: a virtserialport, or a UNIX socket that carries the same bytes.
 *
 * A virtserialport has no connections. The guest can open it while nobody is there; read() then
 * gives 0, which is not an end of file, and poll() reports POLLHUP at once and for ever, so its
 * user has to look again by a timer. A UNIX socket does end, and is opened anew.
 */
#ifndef VSOCKENC_LINK_H
#define VSOCKENC_LINK_H

#include <glib.h>

#define VENC_ERROR (venc_error_quark())
GQuark venc_error_quark(void);

typedef enum {
  VENC_ERROR_NOT_FOUND,     /* no such port or socket */
  VENC_ERROR_PERMISSION,    /* it may not be opened */
  VENC_ERROR_BUSY,          /* another program has it open */
  VENC_ERROR_NO_ANSWER,     /* nobody at the other end */
  VENC_ERROR_LOST,          /* there was somebody, and there will be again perhaps */
  VENC_ERROR_REFUSED,       /* the host cannot do what was asked of it */
  VENC_ERROR_CONFIGURATION, /* the host has no encoder for this configuration */
  VENC_ERROR_INTERRUPTED,   /* the wait was cancelled */
} VencError;

typedef struct {
  int fd;        /* -1: closed */
  gboolean port; /* a virtserialport, with its own manners */
  gchar *name;   /* of what is open or was tried last, for messages */
} VencLink;

#define VENC_LINK_INIT \
  { .fd = -1 }

/* `socket_path` wins over `device`; with neither, the first free port is taken. Never waits. */
gboolean venc_link_open(VencLink *link, const gchar *device, const gchar *socket_path,
                        GError **error);
void venc_link_close(VencLink *link);
void venc_link_clear(VencLink *link);
/* Bytes moved, 0 for "not now", -1 when the link has ended. */
gssize venc_link_read(VencLink *link, guint8 *bytes, gsize size);
gssize venc_link_write(VencLink *link, const guint8 *bytes, gsize size);

#endif
