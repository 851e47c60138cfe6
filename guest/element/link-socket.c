/*
 * Sockets to a relay that listens: UNIX, TCP and vsock. connect() never waits: the caller gets the
 * socket while it connects, and reading or writing reports "not now" or an error.
 *
 * Only the resolution of a host's name waits. getaddrinfo() cannot be cancelled, so it runs in a
 * thread of its own, which is abandoned after RESOLVE_TIMEOUT_US.
 */
#include <errno.h>
#include <linux/vm_sockets.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "link.h"

#define RESOLVE_TIMEOUT_US (2 * G_TIME_SPAN_SECOND)

static void set_name(VencLink *link, gchar *name) {
  g_free(link->name);
  link->name = name;
}

static gboolean fail(VencLink *link, int reason, GError **error) {
  venc_link_close(link);
  link->reason = reason;
  venc_link_set_error(link, error);
  return FALSE;
}

static gboolean begin_connect(VencLink *link, int family, const void *address, socklen_t size,
                              GError **error) {
  link->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (link->fd < 0) return fail(link, errno == EAFNOSUPPORT ? ENODEV : errno, error);
  if (family == AF_INET || family == AF_INET6) {
    const int on = 1;
    /* Messages are small and urgent, and a host that loses power closes no connection. */
    setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(link->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  }
  if (connect(link->fd, address, size) == 0 || errno == EINPROGRESS) return TRUE;
  return fail(link, errno, error);
}

gboolean venc_link_connect_unix(VencLink *link, const gchar *path, GError **error) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  set_name(link, g_strdup(path));
  if (strlen(path) >= sizeof address.sun_path) {
    g_set_error(error, VENC_ERROR, VENC_ERROR_NOT_FOUND,
                "%s: a socket's path has at most %zu bytes", path, sizeof address.sun_path - 1);
    return FALSE;
  }
  memcpy(address.sun_path, path, strlen(path));
  return begin_connect(link, AF_UNIX, &address, sizeof address, error);
}

gboolean venc_link_connect_vsock(VencLink *link, guint cid, guint port, GError **error) {
  struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
  set_name(link, g_strdup_printf("vsock %u:%u", cid, port));
  return begin_connect(link, AF_VSOCK, &address, sizeof address, error);
}

typedef struct {
  gint references;
  GMutex lock;
  GCond done;
  gchar *host;
  gboolean finished;
  int result;               /* of getaddrinfo() */
  struct addrinfo *address; /* the first */
} Resolution;

static void resolution_unref(Resolution *resolution) {
  if (!g_atomic_int_dec_and_test(&resolution->references)) return;
  if (resolution->address) freeaddrinfo(resolution->address);
  g_mutex_clear(&resolution->lock);
  g_cond_clear(&resolution->done);
  g_free(resolution->host);
  g_free(resolution);
}

static int resolve(const gchar *host, int flags, struct addrinfo **address) {
  const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags};
  return getaddrinfo(host, NULL, &hints, address);
}

static gpointer run_resolution(gpointer data) {
  Resolution *resolution = data;
  struct addrinfo *address = NULL;
  int result = resolve(resolution->host, AI_ADDRCONFIG, &address);
  g_mutex_lock(&resolution->lock);
  resolution->result = result;
  resolution->address = address;
  resolution->finished = TRUE;
  g_cond_broadcast(&resolution->done);
  g_mutex_unlock(&resolution->lock);
  resolution_unref(resolution);
  return NULL;
}

/* The first address of a name; EAI_AGAIN if that takes too long. */
static int resolve_in_time(const gchar *host, struct addrinfo **address) {
  gint64 deadline = g_get_monotonic_time() + RESOLVE_TIMEOUT_US;
  int result = EAI_AGAIN;
  Resolution *resolution = g_new0(Resolution, 1);
  resolution->references = 2;
  resolution->host = g_strdup(host);
  g_mutex_init(&resolution->lock);
  g_cond_init(&resolution->done);
  g_thread_unref(g_thread_new("vsockenc-dns", run_resolution, resolution));
  g_mutex_lock(&resolution->lock);
  while (!resolution->finished && g_cond_wait_until(&resolution->done, &resolution->lock, deadline))
    continue;
  if (resolution->finished) {
    result = resolution->result;
    *address = g_steal_pointer(&resolution->address);
  }
  g_mutex_unlock(&resolution->lock);
  resolution_unref(resolution);
  return result;
}

gboolean venc_link_connect_tcp(VencLink *link, const gchar *host, guint port, GError **error) {
  struct addrinfo *found = NULL;
  union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
  } address;
  set_name(link, g_strdup_printf("%s port %u", host, port));
  int result = resolve(host, AI_NUMERICHOST, &found);
  if (result != 0) result = resolve_in_time(host, &found);
  if (result != 0 || !found || found->ai_addrlen > sizeof address) {
    g_set_error(error, VENC_ERROR, VENC_ERROR_NOT_FOUND, "%s: %s", link->name,
                result ? gai_strerror(result) : "no address");
    if (found) freeaddrinfo(found);
    return FALSE;
  }
  socklen_t size = found->ai_addrlen;
  memcpy(&address, found->ai_addr, size);
  freeaddrinfo(found);
  if (address.any.sa_family == AF_INET6)
    address.v6.sin6_port = htons((guint16)port);
  else
    address.v4.sin_port = htons((guint16)port);
  return begin_connect(link, address.any.sa_family, &address, size, error);
}
