#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PORT_DIRECTORY "/dev/virtio-ports"
#define PORT_CLASS "/sys/class/virtio-ports"
#define PORT_NAME "org.vsockenc."
#define PORTS 4
#define RESOLVE_TIMEOUT_US (2 * G_TIME_SPAN_SECOND)

G_DEFINE_QUARK(venc - error - quark, venc_error)

#define PORT_HINT \
  "Give the virtual machine this port: on its host, `vsockenc qemu-args` prints the arguments"
#define SOCKET_HINT "Start the relay that listens there"
#define PORT_PERMISSION_HINT                                                                   \
  "Give it to a group the user is in, with a udev rule such as: SUBSYSTEM==\"virtio-ports\", " \
  "ATTR{name}==\"org.vsockenc.*\", GROUP=\"video\", MODE=\"0660\""
#define SOCKET_PERMISSION_HINT "Add the user to the group that the relay's listener names"

void venc_link_set_error(const VencLink *link, GError **error) {
  const gchar *reason = g_strerror(link->reason);
  switch (link->reason) {
    case ENOENT:
    case ENXIO:
    case ENODEV:
    case ECONNREFUSED:
      g_set_error(error, VENC_ERROR, VENC_ERROR_NOT_FOUND, "%s: %s. %s", link->name, reason,
                  link->port ? PORT_HINT : SOCKET_HINT);
      break;
    case EACCES:
    case EPERM:
      g_set_error(error, VENC_ERROR, VENC_ERROR_PERMISSION, "%s may not be opened by this user. %s",
                  link->name, link->port ? PORT_PERMISSION_HINT : SOCKET_PERMISSION_HINT);
      break;
    case EBUSY:
      g_set_error(error, VENC_ERROR, VENC_ERROR_BUSY,
                  "%s is in use by another program; a port has one user at a time. Stop that "
                  "program or give the virtual machine another port (org.vsockenc.1 and so on)",
                  link->name);
      break;
    default:
      g_set_error(error, VENC_ERROR, VENC_ERROR_NO_ANSWER, "%s: %s", link->name,
                  link->reason ? reason : "closed by the host");
      break;
  }
}

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

static gboolean open_port(VencLink *link, const gchar *path, GError **error) {
  set_name(link, g_strdup(path));
  link->fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  return link->fd >= 0 || fail(link, errno, error);
}

/* The device of a port by the kernel's own list of names: the links in PORT_DIRECTORY are udev's,
 * and a container has none. NULL: no such port. */
static gchar *find_device(const gchar *port) {
  g_autoptr(GDir) ports = g_dir_open(PORT_CLASS, 0, NULL);
  for (const gchar *device; ports && (device = g_dir_read_name(ports));) {
    g_autofree gchar *file = g_build_filename(PORT_CLASS, device, "name", NULL);
    g_autofree gchar *name = NULL;
    if (!g_file_get_contents(file, &name, NULL, NULL)) continue;
    if (g_str_equal(g_strchomp(name), port)) return g_build_filename("/dev", device, NULL);
  }
  return NULL;
}

/* Opens a port by its name. */
static gboolean open_named_port(VencLink *link, const gchar *port, GError **error) {
  g_autofree gchar *path = g_build_filename(PORT_DIRECTORY, port, NULL);
  g_autoptr(GError) reason = NULL;
  if (open_port(link, path, &reason)) return TRUE;
  gboolean missing = g_error_matches(reason, VENC_ERROR, VENC_ERROR_NOT_FOUND);
  g_autofree gchar *device = missing ? find_device(port) : NULL;
  if (!device) {
    g_propagate_error(error, g_steal_pointer(&reason));
    return FALSE;
  }
  g_clear_error(&reason);
  if (open_port(link, device, &reason)) return TRUE;
  if (link->reason == ENOENT || link->reason == EPERM) {
    g_set_error(error, VENC_ERROR, VENC_ERROR_PERMISSION,
                "%s: %s. The port %s is this device, and a container has only the devices that it "
                "is given: start the container with --device %s",
                device, g_strerror(link->reason), port, device);
  } else {
    g_propagate_error(error, g_steal_pointer(&reason));
  }
  return FALSE;
}

/* Opens the first port that can be. An error of a busy or forbidden port is more helpful than one
 * of a missing port. */
static gboolean open_any_port(VencLink *link, GError **error) {
  g_autoptr(GError) best = NULL;
  for (guint i = 0; i < PORTS; i++) {
    g_autofree gchar *port = g_strdup_printf(PORT_NAME "%u", i);
    g_autoptr(GError) reason = NULL;
    if (open_named_port(link, port, &reason)) return TRUE;
    if (g_error_matches(reason, VENC_ERROR, VENC_ERROR_NOT_FOUND)) continue;
    g_clear_error(&best);
    best = g_steal_pointer(&reason);
  }
  if (best) {
    g_propagate_error(error, g_steal_pointer(&best));
    return FALSE;
  }
  set_name(link, g_strdup(PORT_DIRECTORY "/" PORT_NAME "0"));
  g_set_error(error, VENC_ERROR, VENC_ERROR_NOT_FOUND,
              PORT_DIRECTORY
              " has no port " PORT_NAME
              "0 to %u, so this virtual machine has no way to an encoder on its host. Start QEMU "
              "with: -device virtio-serial-pci -chardev "
              "socket,id=vsockenc0,path=SOCKET,server=on,wait=off -device "
              "virtserialport,chardev=vsockenc0,name=" PORT_NAME
              "0 (on the host, `vsockenc qemu-args` prints all of it)",
              PORTS - 1);
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

static gboolean connect_unix(VencLink *link, const gchar *path, GError **error) {
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

static gboolean connect_vsock(VencLink *link, guint cid, guint port, GError **error) {
  struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
  set_name(link, g_strdup_printf("vsock %u:%u", cid, port));
  return begin_connect(link, AF_VSOCK, &address, sizeof address, error);
}

/* getaddrinfo() cannot be cancelled, so it has a thread of its own, which may be abandoned. */
typedef struct {
  GAsyncQueue *answers; /* takes the resolution when it is finished */
  gchar *host;
  int result;               /* of getaddrinfo() */
  struct addrinfo *address; /* the first */
} Resolution;

static void resolution_free(gpointer data) {
  Resolution *resolution = data;
  if (resolution->address) freeaddrinfo(resolution->address);
  g_free(resolution->host);
  g_free(resolution);
}

static int resolve(const gchar *host, int flags, struct addrinfo **address) {
  const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags};
  return getaddrinfo(host, NULL, &hints, address);
}

static gpointer run_resolution(gpointer data) {
  Resolution *resolution = data;
  g_autoptr(GAsyncQueue) answers = resolution->answers;
  resolution->result = resolve(resolution->host, AI_ADDRCONFIG, &resolution->address);
  g_async_queue_push(answers, resolution);
  return NULL;
}

/* The first address of a name; EAI_AGAIN if that takes too long. */
static int resolve_in_time(const gchar *host, struct addrinfo **address) {
  g_autoptr(GAsyncQueue) answers = g_async_queue_new_full(resolution_free);
  Resolution *resolution = g_new0(Resolution, 1);
  resolution->answers = g_async_queue_ref(answers);
  resolution->host = g_strdup(host);
  g_thread_unref(g_thread_new("vsockenc-dns", run_resolution, resolution));
  resolution = g_async_queue_timeout_pop(answers, RESOLVE_TIMEOUT_US);
  if (!resolution) return EAI_AGAIN;
  int result = resolution->result;
  *address = g_steal_pointer(&resolution->address);
  resolution_free(resolution);
  return result;
}

static gboolean connect_tcp(VencLink *link, const gchar *host, guint port, GError **error) {
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

gboolean venc_address_is_socket(const VencAddress *address) {
  return address->socket_path || address->tcp_host || address->vsock;
}

void venc_address_clear(VencAddress *address) {
  g_clear_pointer(&address->device, g_free);
  g_clear_pointer(&address->socket_path, g_free);
  g_clear_pointer(&address->tcp_host, g_free);
}

gboolean venc_link_open(VencLink *link, const VencAddress *address, GError **error) {
  venc_link_close(link);
  link->port = !venc_address_is_socket(address);
  link->connecting = !link->port;
  link->reason = 0;
  if (address->socket_path) return connect_unix(link, address->socket_path, error);
  if (address->tcp_host) return connect_tcp(link, address->tcp_host, address->tcp_port, error);
  if (address->vsock) return connect_vsock(link, address->cid, address->port, error);
  if (!address->device) return open_any_port(link, error);
  if (g_path_is_absolute(address->device)) return open_port(link, address->device, error);
  return open_named_port(link, address->device, error);
}

void venc_link_close(VencLink *link) {
  if (link->fd >= 0) close(link->fd);
  link->fd = -1;
}

/* The result of a call on the link that returned `n` and errno. */
static gssize result(VencLink *link, ssize_t n) {
  if (n > 0) {
    link->connecting = FALSE;
    return n;
  }
  if (n < 0 && (errno == EAGAIN || errno == EINTR || (errno == ENOTCONN && link->connecting)))
    return 0;
  link->reason = n < 0 ? errno : 0;
  return -1;
}

gssize venc_link_read(VencLink *link, guint8 *bytes, gsize size) {
  ssize_t n = read(link->fd, bytes, size);
  return n == 0 && link->port ? 0 : result(link, n);
}

gssize venc_link_write(VencLink *link, const guint8 *bytes, gsize size) {
  ssize_t n = link->port ? write(link->fd, bytes, size) : send(link->fd, bytes, size, MSG_NOSIGNAL);
  return n == 0 ? 0 : result(link, n);
}
