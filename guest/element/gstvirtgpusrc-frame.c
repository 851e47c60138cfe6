/* Frames: the framebuffer itself, or a copy of it with the cursor or in memory for downstream. */
#include <string.h>

#include "gstvirtgpusrc-private.h"

#define PIXEL 4u

static gsize first_byte(const VencKmsBuffer *buffer, const VencKmsPlane *plane) {
  return buffer->offset + (gsize)plane->source_y * buffer->pitch + (gsize)plane->source_x * PIXEL;
}

/* Whether the part that the plane shows lies in the buffer: pitch and offset are the compositor's.
 */
static gboolean fits(const VencKmsBuffer *buffer, const VencKmsPlane *plane) {
  gsize row = (gsize)plane->width * PIXEL, size = buffer->memory->size;
  gsize first = first_byte(buffer, plane);
  return plane->width > 0 && plane->height > 0 && row <= buffer->pitch && first <= size &&
         (gsize)(plane->height - 1) * buffer->pitch + row <= size - first;
}

/* Whether any part of the cursor is on the screen. */
static gboolean cursor_is_visible(const VencKmsView *view) {
  const VencKmsPlane *cursor = &view->cursor_plane;
  return view->cursor && cursor->x < (gint32)view->plane.width &&
         cursor->y < (gint32)view->plane.height && cursor->x + (gint32)cursor->width > 0 &&
         cursor->y + (gint32)cursor->height > 0;
}

/* The framebuffer's own memory. It is the same GstMemory each time that this buffer is shown. */
static GstBuffer *share(const GstVirtgpuSrc *self, const VencKmsView *view) {
  gsize offsets[GST_VIDEO_MAX_PLANES] = {first_byte(view->screen, &view->plane)};
  gint strides[GST_VIDEO_MAX_PLANES] = {(gint)view->screen->pitch};
  GstBuffer *frame = gst_buffer_new();
  gst_buffer_append_memory(frame, gst_memory_ref(view->screen->memory));
  gst_buffer_add_video_meta_full(frame, GST_VIDEO_FRAME_FLAG_NONE,
                                 GST_VIDEO_INFO_FORMAT(&self->info), view->plane.width,
                                 view->plane.height, 1, offsets, strides);
  return frame;
}

/*
 * Blends one row. The cursor has premultiplied alpha (DRM's default), in the top byte of AR24;
 * a virtio-gpu's primary plane has no format with another order of colours.
 */
static void blend_row(guint8 *to, const guint8 *from, guint pixels) {
  for (guint i = 0; i < pixels; i++, to += PIXEL, from += PIXEL) {
    guint rest = 255u - from[3];
    if (rest == 255u) continue;
    for (guint c = 0; c < 3; c++) {
      guint sum = from[c] + (to[c] * rest + 127u) / 255u;
      to[c] = (guint8)MIN(sum, 255u);
    }
  }
}

static void blend_cursor(GstVideoFrame *frame, const VencKmsView *view, const guint8 *pixels) {
  const VencKmsPlane *plane = &view->cursor_plane;
  gint left = MAX(plane->x, 0), top = MAX(plane->y, 0);
  gint right = MIN(plane->x + (gint)plane->width, GST_VIDEO_FRAME_WIDTH(frame));
  gint bottom = MIN(plane->y + (gint)plane->height, GST_VIDEO_FRAME_HEIGHT(frame));
  guint8 *screen = GST_VIDEO_FRAME_PLANE_DATA(frame, 0);
  gsize stride = (gsize)GST_VIDEO_FRAME_PLANE_STRIDE(frame, 0);
  const guint8 *cursor = pixels + first_byte(view->cursor, plane);
  for (gint y = top; y < bottom; y++)
    blend_row(
        screen + (gsize)y * stride + (gsize)left * PIXEL,
        cursor + (gsize)(y - plane->y) * view->cursor->pitch + (gsize)(left - plane->x) * PIXEL,
        (guint)(right - left));
}

static gboolean draw_cursor(GstVirtgpuSrc *self, GstVideoFrame *frame, const VencKmsView *view) {
  GstMapInfo map;
  if (!fits(view->cursor, &view->cursor_plane)) return TRUE;
  if (!gst_memory_map(view->cursor->memory, &map, GST_MAP_READ)) {
    GST_WARNING_OBJECT(self, "the cursor's buffer cannot be mapped");
    return FALSE;
  }
  blend_cursor(frame, view, map.data);
  gst_memory_unmap(view->cursor->memory, &map);
  return TRUE;
}

static gboolean copy_screen(GstVideoFrame *to, const VencKmsView *view) {
  GstMapInfo map;
  if (!gst_memory_map(view->screen->memory, &map, GST_MAP_READ)) return FALSE;
  const guint8 *from = map.data + first_byte(view->screen, &view->plane);
  guint8 *pixels = GST_VIDEO_FRAME_PLANE_DATA(to, 0);
  gsize stride = (gsize)GST_VIDEO_FRAME_PLANE_STRIDE(to, 0);
  for (gsize y = 0; y < view->plane.height; y++)
    memcpy(pixels + y * stride, from + y * view->screen->pitch, (gsize)view->plane.width * PIXEL);
  gst_memory_unmap(view->screen->memory, &map);
  return TRUE;
}

static GstFlowReturn copy(GstVirtgpuSrc *self, const VencKmsView *view, GstBuffer **frame) {
  g_autoptr(GstBufferPool) pool = gst_base_src_get_buffer_pool(GST_BASE_SRC(self));
  GstVideoFrame to;
  if (!pool) return GST_FLOW_NOT_NEGOTIATED;
  GstFlowReturn flow = gst_buffer_pool_acquire_buffer(pool, frame, NULL);
  if (flow != GST_FLOW_OK) return flow;
  gboolean done = gst_video_frame_map(&to, &self->info, *frame, GST_MAP_WRITE);
  if (done) {
    done = copy_screen(&to, view) && (!cursor_is_visible(view) || draw_cursor(self, &to, view));
    gst_video_frame_unmap(&to);
  }
  if (done) return GST_FLOW_OK;
  gst_clear_buffer(frame);
  GST_ELEMENT_ERROR(self, RESOURCE, READ, ("Cannot copy the screen of %s.", self->kms->node),
                    ("a buffer cannot be mapped"));
  return GST_FLOW_ERROR;
}

GstFlowReturn gst_virtgpu_src_make_frame(GstVirtgpuSrc *self, const VencKmsView *view,
                                         GstBuffer **frame) {
  if (!fits(view->screen, &view->plane)) {
    GST_ELEMENT_ERROR(self, RESOURCE, READ,
                      ("The framebuffer of %s is smaller than its screen.", self->kms->node),
                      ("%ux%u at (%u, %u), offset %u, pitch %u, %zu bytes", view->plane.width,
                       view->plane.height, view->plane.source_x, view->plane.source_y,
                       view->screen->offset, view->screen->pitch, view->screen->memory->size));
    return GST_FLOW_ERROR;
  }
  if (!self->dmabuf || cursor_is_visible(view)) return copy(self, view, frame);
  *frame = share(self, view);
  return GST_FLOW_OK;
}
