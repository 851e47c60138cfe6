#include "kms.h"

#include <errno.h>
#include <gst/allocators/allocators.h>
#include <string.h>
#include <unistd.h>

/* More than any compositor flips between, cursors included. */
#define MAX_BUFFERS 16
#define MAX_OUTPUTS 16
/* A buffer that is not shown is released after this: it may keep tens of megabytes alive. */
#define KEEP_US (3 * G_USEC_PER_SEC)

G_DEFINE_QUARK(venc - kms - error - quark, venc_kms_error)

static void buffer_free(gpointer data) {
  VencKmsBuffer *buffer = data;
  gst_memory_unref(buffer->memory);
  g_free(buffer);
}

void venc_kms_free(VencKms *kms) {
  if (!kms) return;
  g_queue_clear_full(&kms->buffers, buffer_free);
  gst_clear_object(&kms->allocator);
  if (kms->fd >= 0) close(kms->fd);
  g_free(kms->node);
  g_free(kms);
}

static void explain_open(GError **error, const gchar *device, gboolean refused, int result) {
  if (refused)
    g_set_error(error, VENC_KMS_ERROR, VENC_KMS_ERROR_DENIED,
                "%s may not be opened. Run as root or as a user of the group \"video\", with the "
                "capability CAP_SYS_ADMIN",
                device ? device : "the virtio-gpu's node /dev/dri/card*");
  else if (device)
    g_set_error(error, VENC_KMS_ERROR, VENC_KMS_ERROR_NOT_FOUND,
                "%s is not a card of the driver virtio_gpu (%s)", device, g_strerror(-result));
  else
    g_set_error_literal(error, VENC_KMS_ERROR, VENC_KMS_ERROR_NOT_FOUND,
                        "this machine has no virtio-gpu with outputs (no node card* of the driver "
                        "virtio_gpu in /dev/dri). Give the virtual machine one");
}

/* Whether `output` is better than those before it. */
static gboolean choose(VencKms *kms, const VencKmsOutput *output, gboolean connected,
                       const gchar *connector, gint *best) {
  VencKmsPlane plane = {0};
  gint rank;
  if (connector) {
    rank = g_strcmp0(output->connector, connector) == 0 ? 3 : 0;
  } else {
    gboolean shows =
        kms->ops->plane(kms->fd, output, output->primary, &plane) == 0 && plane.framebuffer;
    rank = shows ? 3 : connected ? 2 : 1;
  }
  if (rank <= *best) return FALSE;
  *best = rank;
  return TRUE;
}

static gboolean find_output(VencKms *kms, const gchar *connector, GError **error) {
  g_autoptr(GString) names = g_string_new(NULL);
  gint best = 0;
  for (guint i = 0; i < MAX_OUTPUTS; i++) {
    VencKmsOutput output;
    gboolean connected = FALSE;
    if (kms->ops->output(kms->fd, i, &output, &connected) != 0) break;
    g_string_append_printf(names, "%s%s", i > 0 ? ", " : "", output.connector);
    if (choose(kms, &output, connected, connector, &best)) kms->output = output;
  }
  if (best > 0) return TRUE;
  g_set_error(error, VENC_KMS_ERROR, VENC_KMS_ERROR_NOT_FOUND,
              connector ? "%s has no connector %s, but: %s" : "%s has no outputs", kms->node,
              connector, names->str);
  return FALSE;
}

VencKms *venc_kms_new(const VencKmsOps *ops, const gchar *device, const gchar *connector,
                      GError **error) {
  gboolean refused = FALSE;
  g_autoptr(VencKms) kms = g_new0(VencKms, 1);
  kms->ops = ops;
  g_queue_init(&kms->buffers);
  kms->fd = ops->open(device, &kms->node, &refused, &kms->opaque);
  if (kms->fd < 0) {
    explain_open(error, device, refused, kms->fd);
    return NULL;
  }
  kms->allocator = gst_dmabuf_allocator_new();
  if (!find_output(kms, connector, error)) return NULL;
  return g_steal_pointer(&kms);
}

static VencKmsBuffer *find_buffer(VencKms *kms, guint32 resource) {
  for (GList *item = kms->buffers.head; item; item = item->next) {
    VencKmsBuffer *buffer = item->data;
    if (buffer->resource == resource) return buffer;
  }
  return NULL;
}

static void forget_old(VencKms *kms, gint64 now) {
  for (GList *item = kms->buffers.head, *next; item; item = next) {
    VencKmsBuffer *buffer = item->data;
    next = item->next;
    if (now - buffer->seen <= KEEP_US && kms->buffers.length <= MAX_BUFFERS) continue;
    g_queue_delete_link(&kms->buffers, item);
    buffer_free(buffer);
  }
}

static gboolean failed(const VencKms *kms, const gchar *what, int result, GError **error) {
  g_set_error(error, VENC_KMS_ERROR, VENC_KMS_ERROR_FAILED, "%s %s: %s", kms->node, what,
              g_strerror(-result));
  return FALSE;
}

static VencKmsBuffer *add_buffer(VencKms *kms, const VencKmsFramebuffer *from, guint32 resource,
                                 guint64 size, GError **error) {
  int fd = kms->ops->export(kms->fd, from->handle);
  if (fd < 0) {
    failed(kms, "exports no DmaBuf", fd, error);
    return NULL;
  }
  VencKmsBuffer *buffer = g_new0(VencKmsBuffer, 1);
  buffer->resource = resource;
  buffer->memory = gst_dmabuf_allocator_alloc(kms->allocator, fd, size);
  /* Other elements must not draw on the screen. */
  GST_MINI_OBJECT_FLAG_SET(buffer->memory, GST_MEMORY_FLAG_READONLY);
  g_queue_push_tail(&kms->buffers, buffer);
  return buffer;
}

/* The buffer of an open framebuffer. */
static VencKmsBuffer *identify(VencKms *kms, const VencKmsFramebuffer *from, gint64 now,
                               GError **error) {
  guint32 resource = 0;
  guint64 size = 0;
  if (from->handle == 0) {
    g_set_error(
        error, VENC_KMS_ERROR, VENC_KMS_ERROR_DENIED,
        "the kernel gives the framebuffers of %s only to CAP_SYS_ADMIN and to the DRM master. Run "
        "as root, or give the program the capability (setcap cap_sys_admin+ep PROGRAM)",
        kms->node);
    return NULL;
  }
  if (from->planes != 1) {
    g_set_error(error, VENC_KMS_ERROR, VENC_KMS_ERROR_FORMAT,
                "%s shows a framebuffer of %u planes; only packed RGB can be captured", kms->node,
                from->planes);
    return NULL;
  }
  int result = kms->ops->resource(kms->fd, from->handle, &resource, &size);
  if (result < 0) {
    failed(kms, "does not report the resource of its framebuffer", result, error);
    return NULL;
  }
  VencKmsBuffer *buffer = find_buffer(kms, resource);
  if (!buffer) buffer = add_buffer(kms, from, resource, size, error);
  if (!buffer) return NULL;
  buffer->width = from->width;
  buffer->height = from->height;
  buffer->fourcc = from->fourcc;
  buffer->modifier = from->modifier;
  buffer->pitch = from->pitch;
  buffer->offset = from->offset;
  buffer->seen = now;
  return buffer;
}

/*
 * The buffer that a plane shows; NULL: none. Between the two calls a compositor may have removed
 * the framebuffer (-ENOENT): then the plane shows another, and both calls are repeated once.
 */
static gboolean look_at(VencKms *kms, guint32 id, VencKmsPlane *plane, gint64 now,
                        const VencKmsBuffer **buffer, GError **error) {
  *buffer = NULL;
  for (guint attempt = 0; attempt < 2; attempt++) {
    VencKmsFramebuffer framebuffer = {0};
    int result = kms->ops->plane(kms->fd, &kms->output, id, plane);
    if (result == 0 && plane->framebuffer == 0) return TRUE;
    if (result == 0) result = kms->ops->framebuffer(kms->fd, plane->framebuffer, &framebuffer);
    if (result == -ENOENT) continue;
    if (result < 0) return failed(kms, "does not report its framebuffer", result, error);
    *buffer = identify(kms, &framebuffer, now, error);
    if (framebuffer.handle) kms->ops->close_handle(kms->fd, framebuffer.handle);
    return *buffer != NULL;
  }
  return TRUE;
}

gboolean venc_kms_look(VencKms *kms, gboolean cursor, VencKmsView *view, GError **error) {
  gint64 now = g_get_monotonic_time();
  gboolean active = FALSE;

  *view = (VencKmsView){0};
  int result = kms->ops->active(kms->fd, &kms->output, &active);
  if (result < 0) return failed(kms, "is gone", result, error);
  if (active && !look_at(kms, kms->output.primary, &view->plane, now, &view->screen, error))
    return FALSE;
  if (view->screen && cursor && kms->output.cursor &&
      !look_at(kms, kms->output.cursor, &view->cursor_plane, now, &view->cursor, error))
    return FALSE;
  forget_old(kms, now);
  return TRUE;
}
