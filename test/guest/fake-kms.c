#define _GNU_SOURCE
#include "fake-kms.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FRAMEBUFFERS 64u
#define HANDLES 65536u
#define PRIMARY 32
#define CURSOR 33
#define FIRST_RESOURCE 500u

static GMutex lock;
static FakeKmsCounts counts;
typedef struct {
  FakeFramebuffer like;
  gsize size;
  int fd;
} Framebuffer;
static Framebuffer framebuffers[FRAMEBUFFERS];
static guint n_framebuffers;
static guint8 handles[HANDLES]; /* 1 + number of the framebuffer, while it is open */
static guint32 n_handles;
static struct {
  VencKmsPlane plane;
  guint number;
} primary, cursor;
static FakeKmsState state;

void fake_kms_reset(void) {
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  for (guint i = 0; i < n_framebuffers; i++) close(framebuffers[i].fd);
  memset(&counts, 0, sizeof counts);
  memset(&primary, 0, sizeof primary);
  memset(&cursor, 0, sizeof cursor);
  memset(handles, 0, sizeof handles);
  n_framebuffers = n_handles = 0;
  state = (FakeKmsState){.planes = 1};
}

static void fill(guint number, guint32 pixel) {
  gsize size = framebuffers[number].size;
  guint32 *pixels =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, framebuffers[number].fd, 0);
  g_assert_true(pixels != MAP_FAILED);
  for (gsize i = 0; i < size / 4; i++) pixels[i] = pixel;
  munmap(pixels, size);
}

guint fake_kms_create(const FakeFramebuffer *like, guint32 pixel) {
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  guint number = n_framebuffers++;
  g_assert_cmpuint(number, <, FRAMEBUFFERS);
  gsize size = like->offset + (gsize)like->pitch * like->height;
  int fd = memfd_create("fake-kms", MFD_CLOEXEC);
  g_assert_cmpint(ftruncate(fd, (off_t)size), ==, 0);
  framebuffers[number] = (Framebuffer){.like = *like, .size = size, .fd = fd};
  fill(number, pixel);
  return number;
}

void fake_kms_fill(guint number, guint32 pixel) {
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  fill(number, pixel);
}

void fake_kms_set_pixel(guint number, guint x, guint y, guint32 pixel) {
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  const FakeFramebuffer *like = &framebuffers[number].like;
  off_t at = (off_t)(like->offset + (gsize)y * like->pitch + (gsize)x * sizeof pixel);
  g_assert_cmpint(pwrite(framebuffers[number].fd, &pixel, sizeof pixel, at), ==, sizeof pixel);
}

void fake_kms_flip(guint number, guint32 id, guint32 x, guint32 y, guint32 width, guint32 height) {
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  primary.number = number;
  primary.plane = (VencKmsPlane){.framebuffer = id,
                                 .source_x = x,
                                 .source_y = y,
                                 .width = width,
                                 .height = height,
                                 .damage = primary.plane.damage};
  state.active = TRUE;
}

void fake_kms_set_cursor(guint number, guint32 id, gint32 x, gint32 y, guint32 size) {
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  cursor.number = number;
  cursor.plane = (VencKmsPlane){.framebuffer = id, .x = x, .y = y, .width = size, .height = size};
}

void fake_kms_damage(void) {
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  /* The kernel only ever has two of these ids in use at a time. */
  primary.plane.damage = primary.plane.damage == 77 ? 78 : 77;
}

FakeKmsState *fake_kms_lock(void) {
  g_mutex_lock(&lock);
  return &state;
}

void fake_kms_unlock(void) {
  g_mutex_unlock(&lock);
}

FakeKmsCounts fake_kms_counts(void) {
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  return counts;
}

static int fake_open(const gchar *device, gchar **node, gboolean *refused, gboolean *is_opaque) {
  *refused = g_strcmp0(device, "refused") == 0;
  if (*refused) return -EACCES;
  if (g_strcmp0(device, "missing") == 0) return -ENOENT;
  *is_opaque = state.opaque;
  *node = g_strdup("fake-card");
  return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int fake_output(int drm, guint index, VencKmsOutput *output, gboolean *connected) {
  if (index > 0) return -ENOENT;
  *output =
      (VencKmsOutput){.connector = "Virtual-1", .crtc = 36, .primary = PRIMARY, .cursor = CURSOR};
  output->properties[VENC_KMS_FB_DAMAGE_CLIPS] = state.blind ? 0 : 7;
  *connected = TRUE;
  return 0;
}

static int fake_active(int drm, const VencKmsOutput *output, gboolean *is_active) {
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  counts.looks++;
  *is_active = state.active;
  return 0;
}

static int fake_plane(int drm, const VencKmsOutput *output, guint32 id, VencKmsPlane *plane) {
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  *plane = id == PRIMARY ? primary.plane : cursor.plane;
  return 0;
}

static int fake_framebuffer(int drm, guint32 id, VencKmsFramebuffer *framebuffer) {
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  guint number = id == primary.plane.framebuffer ? primary.number : cursor.number;
  const FakeFramebuffer *like = &framebuffers[number].like;
  if (state.removed > 0) {
    state.removed--;
    return -ENOENT;
  }
  *framebuffer = (VencKmsFramebuffer){.width = like->width,
                                      .height = like->height,
                                      .fourcc = like->fourcc,
                                      .modifier = like->modifier,
                                      .planes = state.planes,
                                      .pitch = like->pitch,
                                      .offset = like->offset};
  counts.framebuffers++;
  if (state.denied) return 0;
  g_assert_cmpuint(n_handles, <, HANDLES);
  handles[n_handles] = (guint8)(number + 1);
  framebuffer->handle = ++n_handles;
  counts.open_handles++;
  return 0;
}

/* The framebuffer of a handle. Lock held. */
static gboolean find(guint32 handle, guint *number) {
  gboolean open = handle > 0 && handle <= n_handles && handles[handle - 1] > 0;
  if (open)
    *number = handles[handle - 1] - 1u;
  else
    counts.mistakes++;
  return open;
}

static int fake_resource(int drm, guint32 handle, guint32 *resource, guint64 *size) {
  guint number = 0;
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  if (!find(handle, &number)) return -ENOENT;
  *resource = FIRST_RESOURCE + number;
  *size = framebuffers[number].size;
  return 0;
}

static int fake_export(int drm, guint32 handle) {
  guint number = 0;
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  int fd = find(handle, &number) ? fcntl(framebuffers[number].fd, F_DUPFD_CLOEXEC, 0) : -1;
  counts.exports++;
  return fd < 0 ? -ENOENT : fd;
}

static int fake_close_handle(int drm, guint32 handle) {
  guint number = 0;
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
  if (find(handle, &number)) {
    handles[handle - 1] = 0;
    counts.open_handles--;
  }
  return 0;
}

const VencKmsOps fake_kms = {.open = fake_open,
                             .output = fake_output,
                             .active = fake_active,
                             .plane = fake_plane,
                             .framebuffer = fake_framebuffer,
                             .resource = fake_resource,
                             .export = fake_export,
                             .close_handle = fake_close_handle};
