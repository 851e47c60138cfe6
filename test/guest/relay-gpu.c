#define _GNU_SOURCE
#include "relay-gpu.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define RESOURCES 64u

static GMutex lock;
static int host = -1;
/* Index is the handle minus 1. */
static struct {
  ino_t inode;
  guint32 resource;
  guint64 size;
  int fd; /* while a handle from create keeps it */
  gboolean open;
} resources[RESOURCES];
static guint n_resources, open_handles;

void relay_gpu_connect(const gchar *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  g_assert_cmpuint(strlen(path), <, sizeof address.sun_path);
  strcpy(address.sun_path, path);
  host = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  g_assert_cmpint(connect(host, (struct sockaddr *)&address, sizeof address), ==, 0);
}

/* The host's answer to a request: a resource's id, and in `fd` its memory, -1 if it sent none. */
static guint32 ask_host(guint64 bytes, int *fd) {
  guint32 resource = 0;
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec part = {.iov_base = &resource, .iov_len = sizeof resource};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  g_assert_cmpint(send(host, &bytes, sizeof bytes, MSG_NOSIGNAL), ==, sizeof bytes);
  g_assert_cmpint(recvmsg(host, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL), ==, sizeof resource);
  struct cmsghdr *head = CMSG_FIRSTHDR(&message);
  *fd = -1;
  if (head && head->cmsg_type == SCM_RIGHTS) memcpy(fd, CMSG_DATA(head), sizeof *fd);
  return resource;
}

void relay_gpu_reset(void) {
  int fd;
  g_mutex_lock(&lock);
  g_assert_cmpuint(open_handles, ==, 0);
  if (host >= 0) ask_host(0, &fd);
  n_resources = 0;
  g_mutex_unlock(&lock);
}

guint relay_gpu_open_handles(void) {
  g_mutex_lock(&lock);
  guint n = open_handles;
  g_mutex_unlock(&lock);
  return n;
}

static int relay_open(gchar **node, gboolean *refused) {
  *refused = FALSE;
  *node = g_strdup("relay-gpu");
  return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int relay_import(int drm, int dmabuf, guint32 *handle) {
  struct stat status;
  int result = -ENODEV;
  (void)drm;
  if (fstat(dmabuf, &status) != 0) return -errno;
  g_mutex_lock(&lock);
  for (guint i = 0; i < n_resources && result < 0; i++) {
    if (resources[i].inode != status.st_ino) continue;
    if (!resources[i].open) open_handles++;
    resources[i].open = TRUE;
    *handle = i + 1;
    result = 0;
  }
  g_mutex_unlock(&lock);
  return result;
}

static int relay_info(int drm, guint32 handle, guint32 *resource, guint64 *size, gboolean *blob) {
  (void)drm;
  g_mutex_lock(&lock);
  g_assert_true(handle > 0 && handle <= n_resources && resources[handle - 1].open);
  *resource = resources[handle - 1].resource;
  *size = resources[handle - 1].size;
  *blob = FALSE;
  g_mutex_unlock(&lock);
  return 0;
}

static int relay_create(int drm, guint32 width, guint32 height, guint64 size, guint32 *handle) {
  struct stat status;
  int fd, result = -ENOMEM;
  (void)drm;
  if ((guint64)width * height * 4 > size) return -EINVAL;
  g_mutex_lock(&lock);
  guint32 resource = n_resources < RESOURCES ? ask_host(size, &fd) : 0;
  if (resource != 0 && fstat(fd, &status) == 0) {
    resources[n_resources].inode = status.st_ino;
    resources[n_resources].resource = resource;
    resources[n_resources].size = size;
    resources[n_resources].fd = fd;
    resources[n_resources].open = TRUE;
    open_handles++;
    *handle = ++n_resources;
    result = 0;
  }
  g_mutex_unlock(&lock);
  return result;
}

static int relay_export(int drm, guint32 handle) {
  (void)drm;
  g_mutex_lock(&lock);
  int fd = fcntl(resources[handle - 1].fd, F_DUPFD_CLOEXEC, 0);
  g_mutex_unlock(&lock);
  return fd < 0 ? -errno : fd;
}

static int relay_close_handle(int drm, guint32 handle) {
  (void)drm;
  g_mutex_lock(&lock);
  g_assert_true(handle > 0 && handle <= n_resources && resources[handle - 1].open);
  resources[handle - 1].open = FALSE;
  if (resources[handle - 1].fd >= 0) close(resources[handle - 1].fd);
  resources[handle - 1].fd = -1;
  open_handles--;
  g_mutex_unlock(&lock);
  return 0;
}

static gboolean relay_is_3d(int drm) {
  (void)drm;
  return FALSE;
}

const VencGpuOps relay_gpu = {
    .open = relay_open,
    .import = relay_import,
    .info = relay_info,
    .create = relay_create,
    .export = relay_export,
    .close_handle = relay_close_handle,
    .is_3d = relay_is_3d,
};
