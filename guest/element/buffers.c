#include "buffers.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "planes.h"

/* A buffer whose GstMemory has been freed is kept this long, as it may come again. */
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

/* Of a weak reference to a GstMemory, which reports the memory's end to the table. */
typedef struct {
  VencBuffers *buffers;
  ino_t inode;
} Watch;

typedef struct {
  VencBuffers *buffers;
  Entry *entry;
  GstBuffer *buffer;
  GstVideoInfo info;
  GstVideoFrame frame; /* while mapped */
  VencPixels pixels;
  gboolean mapped;
  gboolean black; /* to the CPU, or it may be */
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
  if (gpu) buffers->gpu = venc_gpu_ref(gpu);
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

/* Frees the slot. The host gets Detach once it has read the last frame. */
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

static gboolean same_picture(const VencLayout *a, const VencLayout *b) {
  return a->width == b->width && a->height == b->height && a->fourcc == b->fourcc &&
         a->modifier == b->modifier && a->content == b->content && a->n_planes == b->n_planes;
}

/* It has no dma-buf: its frames carry their pixels. */
static gboolean is_inline(const Entry *entry) {
  return entry->objects[0] == NULL;
}

static gboolean entry_matches(const Entry *entry, const VencLayout *layout,
                              const VencPlaneMemory *memories) {
  if (is_inline(entry) || !same_picture(&entry->layout, layout)) return FALSE;
  for (guint i = 0; i < layout->n_planes; i++)
    if ((gint64)entry->objects[i]->inode != memories[i].inode ||
        entry->layout.planes[i].offset != memories[i].offset ||
        entry->layout.planes[i].stride != memories[i].stride)
      return FALSE;
  return TRUE;
}

static Object *object_get(VencBuffers *buffers, const VencPlaneMemory *plane, GError **error) {
  Object *object = g_hash_table_lookup(buffers->objects, &plane->inode);
  if (object) {
    object->references++;
    return object;
  }
  VencGpuObject gpu;
  int fd = fcntl(plane->fd, F_DUPFD_CLOEXEC, 0);
  if (fd < 0 || !venc_gpu_lookup(buffers->gpu, fd, &gpu, error)) {
    if (fd < 0)
      g_set_error(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED, "dup: %s", g_strerror(errno));
    else
      close(fd);
    return NULL;
  }
  object = g_new0(Object, 1);
  object->fd = fd;
  object->inode = (ino_t)plane->inode;
  object->gpu = gpu;
  object->references = 1;
  g_hash_table_insert(buffers->objects, &object->inode, object);
  return object;
}

/* Its buffer is forgotten some time after the memory has been freed. */
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
  if (is_inline(entry)) return FALSE;
  for (guint i = 0; i < entry->layout.n_planes; i++)
    if (has_memory(buffers, entry->objects[i]->inode)) return FALSE;
  return TRUE;
}

/* A free slot, after unused buffers have been forgotten. -1: all are in flight. */
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

/* An entry in a free slot, without dma-bufs. */
static Entry *new_entry(VencBuffers *buffers, const VencLayout *layout, gint64 now,
                        GError **error) {
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
  buffers->slots[slot] = entry;
  return entry;
}

/* Imports the dma-bufs of `memories` and checks that each plane lies in its resource. */
static gboolean fill_entry(VencBuffers *buffers, Entry *entry, const VencPlaneMemory *memories,
                           const GstVideoInfo *info, GError **error) {
  for (guint i = 0; i < entry->layout.n_planes; i++) {
    vsockenc_Plane *plane = &entry->layout.planes[i];
    plane->offset = memories[i].offset;
    plane->stride = memories[i].stride;
    entry->objects[i] = object_get(buffers, &memories[i], error);
    if (!entry->objects[i] || !venc_planes_fit(info, i, plane, entry->objects[i]->gpu.size, error))
      return FALSE;
    plane->resource = entry->objects[i]->gpu.resource;
    entry->layout.host_memory |= entry->objects[i]->gpu.host_memory;
  }
  return TRUE;
}

static const VencPixels *hold_map(gpointer data, GError **error) {
  Hold *hold = data;
  if (hold->mapped) return &hold->pixels;
  if (hold->black) {
    g_set_error_literal(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED,
                        "the CPU reads what a GPU drew as black, and the host does not read it: "
                        "set `export` of the [[vm]] in the relay's configuration, or let the "
                        "pipeline read the frame back (gldownload); if the CPU drew this DmaBuf, "
                        "set content=pages");
    return NULL;
  }
  if (hold->entry->layout.modifier != 0) {
    g_set_error(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED,
                "the frame has the modifier 0x%016" G_GINT64_MODIFIER
                "x, and only linear pixels can be sent over the link",
                hold->entry->layout.modifier);
    return NULL;
  }
  hold->mapped = gst_video_frame_map(&hold->frame, &hold->info, hold->buffer,
                                     GST_MAP_READ | GST_VIDEO_FRAME_MAP_FLAG_NO_REF);
  if (!hold->mapped) {
    g_set_error_literal(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED,
                        "the frame's memory can be read neither by the host nor by the CPU");
    return NULL;
  }
  venc_pixels_from_frame(&hold->pixels, &hold->frame);
  return &hold->pixels;
}

static void hold_release(gpointer data) {
  Hold *hold = data;
  VencBuffers *buffers = hold->buffers;
  if (hold->mapped) gst_video_frame_unmap(&hold->frame);
  /* The buffer first: it may hold the last reference to its memory, and memory_died() locks. */
  gst_buffer_unref(hold->buffer);
  g_mutex_lock(&buffers->lock);
  Entry *entry = hold->entry;
  if (--entry->frames == 0 && entry->forgotten) entry_free(buffers, entry);
  g_mutex_unlock(&buffers->lock);
  buffers_unref(buffers);
  g_free(hold);
}

/* Makes `frame` hold buffer and entry. Lock held. */
static Hold *hold_new(VencBuffers *buffers, Entry *entry, GstBuffer *buffer,
                      const GstVideoInfo *info, VencFrame *frame) {
  Hold *hold = g_new0(Hold, 1);
  hold->buffers = buffers_ref(buffers);
  hold->entry = entry;
  hold->buffer = gst_buffer_ref(buffer);
  hold->info = *info;
  entry->frames++;
  entry->last_use = g_get_monotonic_time();
  frame->slot = entry->slot;
  frame->attachment = entry->attachment;
  frame->layout = entry->layout;
  frame->hold = hold;
  frame->map = hold_map;
  frame->release = hold_release;
  return hold;
}

static VencLayout make_layout(const VencPicture *picture) {
  const GstVideoInfo *info = &picture->info;
  return (VencLayout){
      .width = (guint)GST_VIDEO_INFO_WIDTH(info),
      .height = (guint)GST_VIDEO_INFO_HEIGHT(info),
      .fourcc = picture->fourcc,
      .modifier = picture->modifier,
      .content = picture->content,
      .n_planes = GST_VIDEO_INFO_N_PLANES(info),
  };
}

gboolean venc_buffers_use(VencBuffers *buffers, GstBuffer *buffer, const VencPicture *picture,
                          VencFrame *frame, GError **error) {
  const GstVideoInfo *info = &picture->info;
  VencPlaneMemory memories[VSOCKENC_MAX_PLANES];
  Entry *entry = NULL;
  VencLayout layout = make_layout(picture);

  if (!buffers->gpu) {
    g_set_error_literal(error, VENC_GPU_ERROR, VENC_GPU_ERROR_NONE, "no virtio-gpu");
    return FALSE;
  }
  if (!venc_planes_find(buffer, info, memories, error)) return FALSE;
  /* The CPU draws into the element's own, though the host may have a texture of each. */
  if (!buffers->gpu->is_3d || venc_allocator_made(memories[0].memory))
    layout.content = vsockenc_Content_PAGES;
  g_mutex_lock(&buffers->lock);
  for (guint i = 0; i < VSOCKENC_MAX_ATTACHED_BUFFERS && !entry; i++)
    if (buffers->slots[i] && entry_matches(buffers->slots[i], &layout, memories))
      entry = buffers->slots[i];
  if (!entry) {
    entry = new_entry(buffers, &layout, g_get_monotonic_time(), error);
    if (entry && !fill_entry(buffers, entry, memories, info, error)) {
      forget(buffers, entry);
      entry = NULL;
    }
  }
  if (entry) {
    for (guint i = 0; i < layout.n_planes; i++)
      watch_memory(buffers, memories[i].inode, memories[i].memory);
    Hold *hold = hold_new(buffers, entry, buffer, info, frame);
    /* Memory of the host that cannot be read here cannot be mapped. */
    hold->black = layout.content != vsockenc_Content_PAGES && !entry->layout.host_memory;
  }
  g_mutex_unlock(&buffers->lock);
  return entry != NULL;
}

/* An inline entry of this layout that no frame is using. */
static Entry *idle_inline(VencBuffers *buffers, const VencLayout *layout) {
  for (guint i = 0; i < VSOCKENC_MAX_ATTACHED_BUFFERS; i++) {
    Entry *entry = buffers->slots[i];
    if (entry && is_inline(entry) && entry->frames == 0 && same_picture(&entry->layout, layout))
      return entry;
  }
  return NULL;
}

gboolean venc_buffers_use_inline(VencBuffers *buffers, GstBuffer *buffer,
                                 const VencPicture *picture, VencFrame *frame, GError **error) {
  VencLayout layout = make_layout(picture);
  /* Those of other devices are no resources, so their producers see to it that the CPU can read. */
  gboolean black = !buffers->gpu && layout.content == vsockenc_Content_RENDERED &&
                   venc_planes_are_dmabufs(buffer);

  layout.content = vsockenc_Content_CONTENT_UNSPECIFIED;
  g_mutex_lock(&buffers->lock);
  Entry *entry = idle_inline(buffers, &layout);
  if (!entry) entry = new_entry(buffers, &layout, g_get_monotonic_time(), error);
  Hold *hold = entry ? hold_new(buffers, entry, buffer, &picture->info, frame) : NULL;
  if (hold) hold->black = black;
  g_mutex_unlock(&buffers->lock);
  return hold && hold_map(hold, error) != NULL;
}
