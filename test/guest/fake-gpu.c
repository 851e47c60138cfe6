#define _GNU_SOURCE
#include "fake-gpu.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define RESOURCES 4096u
#define FIRST_RESOURCE 100u

static GMutex lock;
static FakeGpuCounts counts;
static int host = -1; /* connection to the host's side; -1: none */
/* Index is the handle minus 1. */
typedef struct {
  ino_t inode;
  guint32 id;
  gsize size;
  int fd; /* while a handle from create keeps it */
  gboolean open;
} Resource;
static Resource resources[RESOURCES];
static guint n_resources;
static guint32 blobs; /* a VencBlob: what imported resources are */

static int fake_open(gchar **node, gboolean *refused) {
  *refused = FALSE;
  *node = g_strdup("fake-gpu");
  return open("/dev/null", O_RDWR | O_CLOEXEC);
}

void fake_gpu_connect(const gchar *path) {
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

/* Makes `fd` a resource; id 0: any. Lock held. */
static int adopt(int fd, gsize size, guint32 id, guint32 *handle) {
  struct stat status;
  if (fstat(fd, &status) != 0) return -errno;
  g_assert_cmpuint(n_resources, <, RESOURCES);
  resources[n_resources] =
      (Resource){status.st_ino, id ? id : FIRST_RESOURCE + n_resources, size, -1, FALSE};
  *handle = ++n_resources;
  return 0;
}

static int make(gsize size, guint32 *handle, int *fd) {
  guint32 id = 0;
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  if (host >= 0)
    id = ask_host(size, fd);
  else
    *fd = memfd_create("fake-gpu", MFD_CLOEXEC);
  gboolean made = *fd >= 0 && (host >= 0 || ftruncate(*fd, (off_t)size) == 0);
  return made ? adopt(*fd, size, id, handle) : -ENOMEM;
}

static int fake_import(int drm, int dmabuf, guint32 *handle) {
  struct stat status;
  if (fstat(dmabuf, &status) != 0) return -errno;
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  counts.imports++;
  /* Newest first: the inode of a memfd that is gone may come again. */
  for (guint i = n_resources; i > 0; i--) {
    if (resources[i - 1].inode != status.st_ino) continue;
    if (!resources[i - 1].open) counts.open_handles++;
    resources[i - 1].open = TRUE;
    *handle = i;
    return 0;
  }
  return -ENODEV;
}

/* An open handle's resource; NULL: a mistake. Lock held. */
static Resource *find(guint32 handle) {
  if (handle > 0 && handle <= n_resources && resources[handle - 1].open)
    return &resources[handle - 1];
  counts.mistakes++;
  return NULL;
}

static int fake_info(int drm, guint32 handle, guint32 *resource, guint64 *size, guint32 *blob) {
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  const Resource *found = find(handle);
  counts.infos++;
  if (!found) return -ENOENT;
  *resource = found->id;
  *size = found->size;
  *blob = blobs;
  return 0;
}

static int fake_create(int drm, guint32 width, guint32 height, guint64 size, guint32 *handle) {
  int fd;
  if ((guint64)width * height * 4 > size) return -EINVAL;
  int result = make((gsize)size, handle, &fd);
  if (result < 0) return result;
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  counts.creates++;
  counts.open_handles++;
  resources[*handle - 1].fd = fd;
  resources[*handle - 1].open = TRUE;
  return 0;
}

static int fake_export(int drm, guint32 handle) {
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  int fd = fcntl(resources[handle - 1].fd, F_DUPFD_CLOEXEC, 0);
  return fd < 0 ? -errno : fd;
}

static int fake_close_handle(int drm, guint32 handle) {
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  Resource *found = find(handle);
  if (!found) return 0;
  if (found->fd >= 0) close(found->fd);
  found->fd = -1;
  found->open = FALSE;
  counts.open_handles--;
  return 0;
}

static gboolean fake_is_2d(int drm) {
  return FALSE;
}

static gboolean fake_is_3d(int drm) {
  return TRUE;
}

#define FAKE_GPU(renders)                                                               \
  {                                                                                     \
    .open = fake_open, .import = fake_import, .info = fake_info, .create = fake_create, \
    .export = fake_export, .close_handle = fake_close_handle, .is_3d = renders,         \
  }

const VencGpuOps fake_gpu = FAKE_GPU(fake_is_2d);
const VencGpuOps fake_3d_gpu = FAKE_GPU(fake_is_3d);

static int no_open(gchar **node, gboolean *refused) {
  *node = NULL;
  *refused = FALSE;
  return -ENODEV;
}

const VencGpuOps no_gpu = {.open = no_open};

static int denied_open(gchar **node, gboolean *refused) {
  *refused = TRUE;
  return -ENODEV;
}

const VencGpuOps denied_gpu = {.open = denied_open};

void fake_gpu_reset(void) {
  int fd;
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  g_assert_cmpuint(counts.open_handles, ==, 0);
  if (host >= 0) ask_host(0, &fd);
  memset(&counts, 0, sizeof counts);
  n_resources = 0;
  blobs = 0;
}

void fake_gpu_make_blobs(VencBlob kind) {
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  blobs = kind;
}

FakeGpuCounts fake_gpu_counts(void) {
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  return counts;
}

int fake_gpu_new_dmabuf(gsize size) {
  guint32 handle;
  int fd;
  return make(size, &handle, &fd) < 0 ? -1 : fd;
}

int fake_gpu_new_busy_dmabuf(gsize size, int *writer) {
  guint32 handle;
  int ends[2];
  /* Like a dma-buf with a fence, an empty pipe is not readable. */
  if (pipe2(ends, O_CLOEXEC) != 0) return -1;
  *writer = ends[1];
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  return adopt(ends[0], size, 0, &handle) < 0 ? -1 : ends[0];
}
