#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PORT_DIRECTORY "/dev/virtio-ports"
#define PORT_NAME "org.vsockenc."
#define PORTS 4

G_DEFINE_QUARK(venc - error - quark, venc_error)

#define PORT_HINT \
  "Give the virtual machine this port: on its host, `vsockenc qemu-args` prints the arguments"
#define SOCKET_HINT "Start the relay that listens there"

/* `missing_hint` says what to do when there is nothing at `path`. */
static void set_open_error(GError **error, const gchar *path, int reason,
                           const gchar *missing_hint) {
  switch (reason) {
    case ENOENT:
    case ENXIO:
    case ENODEV:
    case ECONNREFUSED:
      g_set_error(error, VENC_ERROR, VENC_ERROR_NOT_FOUND, "%s: %s. %s", path, g_strerror(reason),
                  missing_hint);
      break;
    case EACCES:
    case EPERM:
      g_set_error(error, VENC_ERROR, VENC_ERROR_PERMISSION,
                  "%s may not be opened by this user. Give it to a group the user is in, with a "
                  "udev rule such as: SUBSYSTEM==\"virtio-ports\", ATTR{name}==\"org.vsockenc.*\", "
                  "GROUP=\"video\", MODE=\"0660\"",
                  path);
      break;
    case EBUSY:
      g_set_error(error, VENC_ERROR, VENC_ERROR_BUSY,
                  "%s is in use by another program; a port has one user at a time. Stop that "
                  "program or give the virtual machine another port (org.vsockenc.1 and so on)",
                  path);
      break;
    default:
      g_set_error(error, VENC_ERROR, VENC_ERROR_NO_ANSWER, "%s: %s", path, g_strerror(reason));
      break;
  }
}

static gboolean open_port(VencLink *link, const gchar *path, GError **error) {
  g_free(link->name);
  link->name = g_strdup(path);
  link->port = TRUE;
  link->fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  if (link->fd >= 0) return TRUE;
  set_open_error(error, path, errno, PORT_HINT);
  return FALSE;
}

/* The first port that can be opened. A busy or forbidden port says more than a missing one. */
static gboolean open_any_port(VencLink *link, GError **error) {
  g_autoptr(GError) best = NULL;
  for (guint i = 0; i < PORTS; i++) {
    g_autofree gchar *path = g_strdup_printf(PORT_DIRECTORY "/" PORT_NAME "%u", i);
    g_autoptr(GError) reason = NULL;
    if (open_port(link, path, &reason)) return TRUE;
    if (g_error_matches(reason, VENC_ERROR, VENC_ERROR_NOT_FOUND)) continue;
    g_clear_error(&best);
    best = g_steal_pointer(&reason);
  }
  if (best) {
    g_propagate_error(error, g_steal_pointer(&best));
    return FALSE;
  }
  g_free(link->name);
  link->name = g_strdup(PORT_DIRECTORY "/" PORT_NAME "0");
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

static gboolean open_socket(VencLink *link, const gchar *path, GError **error) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  g_free(link->name);
  link->name = g_strdup(path);
  link->port = FALSE;
  if (strlen(path) >= sizeof address.sun_path) {
    g_set_error(error, VENC_ERROR, VENC_ERROR_NOT_FOUND,
                "%s: a socket's path has at most %zu bytes", path, sizeof address.sun_path - 1);
    return FALSE;
  }
  memcpy(address.sun_path, path, strlen(path));
  link->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (link->fd >= 0 && connect(link->fd, (struct sockaddr *)&address, sizeof address) == 0)
    return TRUE;
  set_open_error(error, path, errno, SOCKET_HINT);
  venc_link_close(link);
  return FALSE;
}

gboolean venc_link_open(VencLink *link, const gchar *device, const gchar *socket_path,
                        GError **error) {
  venc_link_close(link);
  if (socket_path) return open_socket(link, socket_path, error);
  if (!device) return open_any_port(link, error);
  if (g_path_is_absolute(device)) return open_port(link, device, error);
  g_autofree gchar *path = g_build_filename(PORT_DIRECTORY, device, NULL);
  return open_port(link, path, error);
}

void venc_link_close(VencLink *link) {
  if (link->fd >= 0) close(link->fd);
  link->fd = -1;
}

void venc_link_clear(VencLink *link) {
  venc_link_close(link);
  g_clear_pointer(&link->name, g_free);
}

static gboolean is_temporary(int reason) {
  return reason == EAGAIN || reason == EWOULDBLOCK || reason == EINTR;
}

gssize venc_link_read(VencLink *link, guint8 *bytes, gsize size) {
  ssize_t n = read(link->fd, bytes, size);
  if (n > 0) return n;
  if (n < 0) return is_temporary(errno) ? 0 : -1;
  return link->port ? 0 : -1;
}

gssize venc_link_write(VencLink *link, const guint8 *bytes, gsize size) {
  ssize_t n = link->port ? write(link->fd, bytes, size) : send(link->fd, bytes, size, MSG_NOSIGNAL);
  if (n >= 0) return n;
  return is_temporary(errno) ? 0 : -1;
}
