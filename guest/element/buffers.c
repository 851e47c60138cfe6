#include "buffers.h"

#include <errno.h>
#include <fcntl.h>
#include <gst/allocators/allocators.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* How long a buffer without GstMemory may be seen again. */
#define ORPHAN_TIME_US G_TIME_SPAN_SECOND

/* A dma-buf. Shared by the entries that have a plane in it. */
typedef struct {
  ino_t inode;
  int fd; /* keeps the inode */
  VencGpuObject gpu;
  guint references;
} Object;

typedef struct {
  guint slot;
  guint64 attachment;
  VencLayout layout;
  Object *objects[VSOCKENC_MAX_PLANES];
  guint frames; /* with the host */
  gboolean forgotten;
  gint64 last_use;
} Entry;

struct _VencBuffers {
  gint references; /* of the owner, of every hold, of every watched GstMemory */
  GMutex lock;
  VencGpu *gpu;
  VencSession *session;
  GHashTable *objects; /* inode → Object */
  GHashTable *watched; /* GstMemory that is alive → its Watch */
  Entry *slots[VSOCKENC_MAX_ATTACHED_BUFFERS];
  guint64 next_attachment;
};

/* Watches a GstMemory: its death is told to the table with this. */
typedef struct {
  VencBuffers *buffers;
  ino_t inode;
} Watch;

typedef struct {
  VencBuffers *buffers;
  Entry *entry;
  GstBuffer *buffer;
} Hold;

static VencBuffers *buffers_ref(VencBuffers *buffers) {
  g_atomic_int_inc(&buffers->references);
  return buffers;
}

static void buffers_unref(VencBuffers *buffers) {
  if (!g_atomic_int_dec_and_test(&buffers->references)) return;
  g_hash_table_unref(buffers->objects);
  g_hash_table_unref(buffers->watched);
  venc_gpu_unref(buffers->gpu);
  g_mutex_clear(&buffers->lock);
  g_free(buffers);
}

VencBuffers *venc_buffers_new(VencGpu *gpu, VencSession *session) {
  VencBuffers *buffers = g_new0(VencBuffers, 1);
  buffers->references = 1;
  g_mutex_init(&buffers->lock);
  buffers->gpu = venc_gpu_ref(gpu);
  buffers->session = session;
  buffers->objects = g_hash_table_new(g_int64_hash, g_int64_equal);
  buffers->watched = g_hash_table_new(NULL, NULL);
  return buffers;
}

static void object_unref(VencBuffers *buffers, Object *object) {
  if (--object->references > 0) return;
  g_hash_table_remove(buffers->objects, &object->inode);
  venc_gpu_close(buffers->gpu, &object->gpu);
  close(object->fd);
  g_free(object);
}

static void entry_free(VencBuffers *buffers, Entry *entry) {
  for (guint i = 0; i < entry->layout.n_planes; i++)
    if (entry->objects[i]) object_unref(buffers, entry->objects[i]);
  g_free(entry);
}

/* Gives the number free. The host hears of it when it has read the last frame. */
static void forget(VencBuffers *buffers, Entry *entry) {
  buffers->slots[entry->slot] = NULL;
  venc_session_detach(buffers->session, entry->slot, entry->attachment);
  entry->forgotten = TRUE;
  if (entry->frames == 0) entry_free(buffers, entry);
}

void venc_buffers_clear(VencBuffers *buffers) {
  g_mutex_lock(&buffers->lock);
  for (guint i = 0; i < VSOCKENC_MAX_ATTACHED_BUFFERS; i++)
    if (buffers->slots[i]) forget(buffers, buffers->slots[i]);
  g_mutex_unlock(&buffers->lock);
}

void venc_buffers_free(VencBuffers *buffers) {
  if (!buffers) return;
  venc_buffers_clear(buffers);
  buffers_unref(buffers);
}

static void memory_died(gpointer data, GstMiniObject *where) {
  Watch *watch = data;
  VencBuffers *buffers = watch->buffers;

  g_mutex_lock(&buffers->lock);
  g_hash_table_remove(buffers->watched, where);
  g_mutex_unlock(&buffers->lock);
  g_free(watch);
  buffers_unref(buffers);
}

/* Where one plane is. */
typedef struct {
  GstMemory *memory;
  int fd;
  gint64 inode;
  guint64 offset;
  guint32 stride;
} Place;

static gboolean find_places(GstBuffer *buffer, const GstVideoInfo *info, Place *places,
                            GError **error) {
  const GstVideoMeta *meta = gst_buffer_get_video_meta(buffer);
  guint n_planes = meta ? meta->n_planes : GST_VIDEO_INFO_N_PLANES(info);

  if (n_planes != GST_VIDEO_INFO_N_PLANES(info) || n_planes > VSOCKENC_MAX_PLANES) {
    g_set_error(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED, "a buffer of %u planes", n_planes);
    return FALSE;
  }
  for (guint i = 0; i < n_planes; i++) {
    gsize offset = meta ? meta->offset[i] : GST_VIDEO_INFO_PLANE_OFFSET(info, i);
    gint stride = meta ? meta->stride[i] : GST_VIDEO_INFO_PLANE_STRIDE(info, i);
    guint index, length;
    gsize skip;
    struct stat status;

    if (stride <= 0 || !gst_buffer_find_memory(buffer, offset, 1, &index, &length, &skip)) {
      g_set_error(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED,
                  "plane %u (offset %zu, stride %d) is not in the buffer's memory", i, offset,
                  stride);
      return FALSE;
    }
    GstMemory *memory = gst_buffer_peek_memory(buffer, index);
    places[i].memory = memory;
    places[i].fd = gst_dmabuf_memory_get_fd(memory);
    places[i].offset = memory->offset + skip;
    places[i].stride = (guint32)stride;
    if (places[i].fd < 0 || fstat(places[i].fd, &status) != 0) {
      g_set_error(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED, "plane %u has no descriptor: %s", i,
                  g_strerror(errno));
      return FALSE;
    }
    places[i].inode = (gint64)status.st_ino;
  }
  return TRUE;
}

gboolean venc_buffers_is_dmabuf(GstBuffer *buffer) {
  guint n = gst_buffer_n_memory(buffer);
  for (guint i = 0; i < n; i++)
    if (!gst_is_dmabuf_memory(gst_buffer_peek_memory(buffer, i))) return FALSE;
  return n > 0;
}

static gboolean entry_matches(const Entry *entry, const VencLayout *layout, const Place *places) {
  if (entry->layout.width != layout->width || entry->layout.height != layout->height ||
      entry->layout.fourcc != layout->fourcc || entry->layout.modifier != layout->modifier ||
      entry->layout.n_planes != layout->n_planes)
    return FALSE;
  for (guint i = 0; i < layout->n_planes; i++)
    if ((gint64)entry->objects[i]->inode != places[i].inode ||
        entry->layout.planes[i].offset != places[i].offset ||
        entry->layout.planes[i].stride != places[i].stride)
      return FALSE;
  return TRUE;
}

static Object *object_get(VencBuffers *buffers, const Place *place, GError **error) {
  Object *object = g_hash_table_lookup(buffers->objects, &place->inode);
  if (object) {
    object->references++;
    return object;
  }
  VencGpuObject gpu;
  int fd = fcntl(place->fd, F_DUPFD_CLOEXEC, 0);
  if (fd < 0 || !venc_gpu_lookup(buffers->gpu, fd, &gpu, error)) {
    if (fd < 0)
      g_set_error(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED, "dup: %s", g_strerror(errno));
    else
      close(fd);
    return NULL;
  }
  object = g_new0(Object, 1);
  object->fd = fd;
  object->inode = (ino_t)place->inode;
  object->gpu = gpu;
  object->references = 1;
  g_hash_table_insert(buffers->objects, &object->inode, object);
  return object;
}

/* Learns of the memory's death, so that its buffer can be forgotten. */
static void watch_memory(VencBuffers *buffers, gint64 inode, GstMemory *memory) {
  if (g_hash_table_contains(buffers->watched, memory)) return;
  Watch *watch = g_new0(Watch, 1);
  watch->buffers = buffers_ref(buffers);
  watch->inode = (ino_t)inode;
  g_hash_table_insert(buffers->watched, memory, watch);
  gst_mini_object_weak_ref(GST_MINI_OBJECT_CAST(memory), memory_died, watch);
}

static gboolean has_memory(VencBuffers *buffers, ino_t inode) {
  GHashTableIter iter;
  gpointer watch;
  g_hash_table_iter_init(&iter, buffers->watched);
  while (g_hash_table_iter_next(&iter, NULL, &watch))
    if (((Watch *)watch)->inode == inode) return TRUE;
  return FALSE;
}

static gboolean is_orphan(VencBuffers *buffers, const Entry *entry, gint64 now) {
  if (entry->frames > 0 || now - entry->last_use < ORPHAN_TIME_US) return FALSE;
  for (guint i = 0; i < entry->layout.n_planes; i++)
    if (has_memory(buffers, entry->objects[i]->inode)) return FALSE;
  return TRUE;
}

/* A free number, after forgetting what is of no use any more. -1: all are in flight. */
static gint free_slot(VencBuffers *buffers, gint64 now) {
  Entry *oldest = NULL;
  gint slot = -1;
  for (gint i = 0; i < (gint)VSOCKENC_MAX_ATTACHED_BUFFERS; i++) {
    Entry *entry = buffers->slots[i];
    if (entry && is_orphan(buffers, entry, now)) {
      forget(buffers, entry);
      entry = NULL;
    }
    if (!entry) {
      if (slot < 0) slot = i;
    } else if (entry->frames == 0 && (!oldest || entry->last_use < oldest->last_use)) {
      oldest = entry;
    }
  }
  if (slot >= 0 || !oldest) return slot;
  slot = (gint)oldest->slot;
  forget(buffers, oldest);
  return slot;
}

/* Checks that each plane lies in its resource, and fills in the resources. */
static gboolean place_planes(Entry *entry, const GstVideoInfo *info, GError **error) {
  for (guint i = 0; i < entry->layout.n_planes; i++) {
    VencPlane *plane = &entry->layout.planes[i];
    guint64 rows = GST_VIDEO_INFO_COMP_HEIGHT(info, i);
    guint64 row =
        (guint64)GST_VIDEO_INFO_COMP_WIDTH(info, i) * GST_VIDEO_INFO_COMP_PSTRIDE(info, i);
    guint64 size = entry->objects[i]->gpu.size;
    if (plane->stride < row || plane->offset > size ||
        (rows - 1) * plane->stride + row > size - plane->offset) {
      g_set_error(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED,
                  "plane %u (offset %" G_GUINT64_FORMAT ", stride %u, %" G_GUINT64_FORMAT
                  " rows) does not lie inside its DmaBuf of %" G_GUINT64_FORMAT " bytes",
                  i, plane->offset, plane->stride, rows, size);
      return FALSE;
    }
    plane->resource = entry->objects[i]->gpu.resource;
  }
  return TRUE;
}

static Entry *new_entry(VencBuffers *buffers, const VencLayout *layout, const Place *places,
                        const GstVideoInfo *info, gint64 now, GError **error) {
  gint slot = free_slot(buffers, now);
  if (slot < 0) {
    g_set_error(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED, "all %u buffers are in flight",
                VSOCKENC_MAX_ATTACHED_BUFFERS);
    return NULL;
  }
  Entry *entry = g_new0(Entry, 1);
  entry->slot = (guint)slot;
  entry->attachment = ++buffers->next_attachment;
  entry->layout = *layout;
  for (guint i = 0; i < layout->n_planes; i++) {
    entry->layout.planes[i].offset = places[i].offset;
    entry->layout.planes[i].stride = places[i].stride;
    entry->objects[i] = object_get(buffers, &places[i], error);
    if (!entry->objects[i]) {
      entry_free(buffers, entry);
      return NULL;
    }
  }
  if (!place_planes(entry, info, error)) {
    entry_free(buffers, entry);
    return NULL;
  }
  buffers->slots[slot] = entry;
  return entry;
}

static void hold_release(gpointer data) {
  Hold *hold = data;
  VencBuffers *buffers = hold->buffers;
  /* First the buffer: it may be the last to keep its memory, whose death takes the lock. */
  gst_buffer_unref(hold->buffer);
  g_mutex_lock(&buffers->lock);
  Entry *entry = hold->entry;
  if (--entry->frames == 0 && entry->forgotten) entry_free(buffers, entry);
  g_mutex_unlock(&buffers->lock);
  buffers_unref(buffers);
  g_free(hold);
}

gboolean venc_buffers_use(VencBuffers *buffers, GstBuffer *buffer, const GstVideoInfo *info,
                          guint32 fourcc, VencFrame *frame, GError **error) {
  Place places[VSOCKENC_MAX_PLANES];
  Entry *entry = NULL;
  gint64 now = g_get_monotonic_time();
  VencLayout layout = {
      .width = (guint)GST_VIDEO_INFO_WIDTH(info),
      .height = (guint)GST_VIDEO_INFO_HEIGHT(info),
      .fourcc = fourcc,
      .n_planes = GST_VIDEO_INFO_N_PLANES(info),
  };

  if (!find_places(buffer, info, places, error)) return FALSE;
  g_mutex_lock(&buffers->lock);
  for (guint i = 0; i < VSOCKENC_MAX_ATTACHED_BUFFERS && !entry; i++)
    if (buffers->slots[i] && entry_matches(buffers->slots[i], &layout, places))
      entry = buffers->slots[i];
  if (!entry) entry = new_entry(buffers, &layout, places, info, now, error);
  if (entry) {
    for (guint i = 0; i < layout.n_planes; i++)
      watch_memory(buffers, places[i].inode, places[i].memory);
    entry->frames++;
    entry->last_use = now;
    Hold *hold = g_new0(Hold, 1);
    hold->buffers = buffers_ref(buffers);
    hold->entry = entry;
    hold->buffer = gst_buffer_ref(buffer);
    frame->slot = entry->slot;
    frame->attachment = entry->attachment;
    frame->layout = entry->layout;
    frame->hold = hold;
    frame->release = hold_release;
  }
  g_mutex_unlock(&buffers->lock);
  return entry != NULL;
}

gboolean venc_buffers_wait_idle(GstBuffer *buffer, gint timeout_ms) {
  gint64 deadline = g_get_monotonic_time() + timeout_ms * G_TIME_SPAN_MILLISECOND;
  for (guint i = 0; i < gst_buffer_n_memory(buffer); i++) {
    GstMemory *memory = gst_buffer_peek_memory(buffer, i);
    if (!gst_is_dmabuf_memory(memory)) continue;
    struct pollfd fd = {.fd = gst_dmabuf_memory_get_fd(memory), .events = POLLIN};
    gint64 left = MAX(deadline - g_get_monotonic_time(), 0) / 1000;
    if (poll(&fd, 1, (int)left) == 0) return FALSE;
  }
  return TRUE;
}
