/*
 * The link to the host: a virtserialport, or a UNIX, TCP or vsock socket that carries the same
 * bytes.
 *
 * A virtserialport has no connections. The guest can open it without a host at the other end:
 * read() then returns 0, which is not an end of file, and poll() always reports POLLHUP at once, so
 * the caller has to poll by a timer. A socket ends and is opened again. The caller waits for its
 * first byte while it connects, so nothing waits for connect().
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
  VENC_ERROR_NO_ANSWER,     /* no host at the other end */
  VENC_ERROR_LOST,          /* the host has gone, and may come back */
  VENC_ERROR_REFUSED,       /* the host rejected a request */
  VENC_ERROR_CONFIGURATION, /* the host has no encoder for this configuration */
} VencError;

/* Where the host is. The first of socket_path, tcp_host and vsock that is set counts, else device.
 */
typedef struct {
  gchar *device; /* path or name of a port; NULL: the first free one */
  gchar *socket_path;
  gchar *tcp_host; /* name or numeric address */
  guint tcp_port;
  gboolean vsock;
  guint cid, port; /* of vsock */
} VencAddress;

/* TRUE: a socket, whose listener may come later. */
gboolean venc_address_is_socket(const VencAddress *address);
void venc_address_clear(VencAddress *address);

typedef struct {
  int fd;              /* -1: closed */
  gboolean port;       /* a virtserialport */
  gboolean connecting; /* a socket that has not carried a byte yet */
  int reason;          /* errno of the error that ended it */
  gchar *name;         /* of what is open or was tried last, for messages */
} VencLink;

/*
 * Never waits for connect(): reading or writing reports "not now" or an error. Only the resolution
 * of a host's name is awaited, for two seconds at most.
 */
gboolean venc_link_open(VencLink *link, const VencAddress *address, GError **error);
void venc_link_close(VencLink *link);
/* Bytes moved, 0 for "not now", -1 when the link has ended. */
gssize venc_link_read(VencLink *link, guint8 *bytes, gsize size);
/* Why the link has ended, and the remedy. */
void venc_link_set_error(const VencLink *link, GError **error);
gssize venc_link_write(VencLink *link, const guint8 *bytes, gsize size);

#endif
