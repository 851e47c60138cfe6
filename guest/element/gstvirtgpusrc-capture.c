/*
 * When a frame is made.
 *
 * A changed screen causes no event: a virtio-gpu has no vertical blank, and only the DRM master is
 * notified of flips. So the element polls: once for each frame that is due, then every few
 * milliseconds until the screen has changed. A poll is a handful of ioctls (kms.c).
 */
#include <string.h>

#include "gstvirtgpusrc-private.h"
#include "planes.h"

/* Between two polls of an unchanged screen: the longest delay of a change. */
#define LOOK_US 5000
/*
 * Damage without a flip means that the program draws into the shown buffer. Commits differ by ids
 * that are reused, so some commits look alike: for this long after the last one that was noticed,
 * frames are pushed at the negotiated rate.
 */
#define DRAWN_US G_USEC_PER_SEC

void gst_virtgpu_src_post_error(GstVirtgpuSrc *self, const GError *error) {
  const gchar *text = error->message;
  if (g_error_matches(error, VENC_KMS_ERROR, VENC_KMS_ERROR_NOT_FOUND))
    GST_ELEMENT_ERROR(self, RESOURCE, NOT_FOUND, ("No screen to capture: %s.", text), (NULL));
  else if (g_error_matches(error, VENC_KMS_ERROR, VENC_KMS_ERROR_DENIED))
    GST_ELEMENT_ERROR(self, RESOURCE, NOT_AUTHORIZED, ("No right to capture: %s.", text), (NULL));
  else if (g_error_matches(error, VENC_KMS_ERROR, VENC_KMS_ERROR_FORMAT))
    GST_ELEMENT_ERROR(self, STREAM, FORMAT, ("%s.", text), (NULL));
  else
    GST_ELEMENT_ERROR(self, RESOURCE, READ, ("The screen cannot be captured: %s.", text), (NULL));
}

gboolean gst_virtgpu_src_set_picture(GstVirtgpuSrc *self, const VencKmsView *view,
                                     gboolean *changed) {
  const GstVirtgpuSrcPicture picture = {
      .format = venc_format_of(view->screen->fourcc),
      .fourcc = view->screen->fourcc,
      .modifier = view->screen->modifier,
      .width = view->plane.width,
      .height = view->plane.height,
  };
  /* Only formats with one plane, as framebuffers have here (kms.h). */
  if (GST_VIDEO_FORMAT_INFO_N_PLANES(gst_video_format_get_info(picture.format)) != 1) {
    GST_ELEMENT_ERROR(
        self, STREAM, FORMAT,
        ("Unsupported framebuffer format %.4s: only packed RGB with 32 bits can be captured.",
         (const gchar *)&picture.fourcc),
        (NULL));
    return FALSE;
  }
  GST_OBJECT_LOCK(self);
  *changed = memcmp(&picture, &self->picture, sizeof picture) != 0;
  self->picture = picture;
  GST_OBJECT_UNLOCK(self);
  return TRUE;
}

gboolean gst_virtgpu_src_look(GstVirtgpuSrc *self, VencKmsView *view) {
  g_autoptr(GError) error = NULL;
  if (venc_kms_look(self->kms, self->cursor, view, &error)) return TRUE;
  gst_virtgpu_src_post_error(self, error);
  return FALSE;
}

void gst_virtgpu_src_warn_off(GstVirtgpuSrc *self) {
  if (!self->warned_off)
    GST_ELEMENT_WARNING(self, RESOURCE, NOT_FOUND,
                        ("%s of %s shows nothing. Waiting until it does.",
                         self->kms->output.connector, self->kms->node),
                        (NULL));
  self->warned_off = TRUE;
}

gboolean gst_virtgpu_src_wait_until(GstVirtgpuSrc *self, gint64 time) {
  GST_OBJECT_LOCK(self);
  while (!self->unlocked && g_get_monotonic_time() < time)
    g_cond_wait_until(&self->wake, GST_OBJECT_GET_LOCK(self), time);
  gboolean unlocked = self->unlocked;
  GST_OBJECT_UNLOCK(self);
  return !unlocked;
}

static GstVirtgpuSrcContent content_of(const VencKmsView *view) {
  GstVirtgpuSrcContent content = {
      .resource = view->screen->resource,
      .damage = view->plane.damage,
      .source_x = view->plane.source_x,
      .source_y = view->plane.source_y,
  };
  if (view->cursor) {
    content.cursor = view->cursor->resource;
    content.cursor_damage = view->cursor_plane.damage;
    content.cursor_x = view->cursor_plane.x;
    content.cursor_y = view->cursor_plane.y;
  }
  return content;
}

/* Whether a frame with this content is due at `now`. */
static gboolean is_due(GstVirtgpuSrc *self, const GstVirtgpuSrcContent *content, gint64 now) {
  const GstVirtgpuSrcContent *last = &self->content;
  GST_OBJECT_LOCK(self);
  gboolean rate = self->settings.pacing == GST_VIRTGPU_SRC_PACING_RATE;
  gint64 keepalive = (gint64)self->settings.keepalive_time * 1000;
  GST_OBJECT_UNLOCK(self);
  /* Without this property drawing without a flip is not noticed. */
  gboolean sees_damage = self->kms->output.properties[VENC_KMS_FB_DAMAGE_CLIPS] != 0;
  if (self->pushed == 0 || !sees_damage) return TRUE;
  if (content->resource == last->resource && content->damage != last->damage) self->drawn = now;
  if (memcmp(content, last, sizeof *content) != 0) return TRUE;
  if (self->drawn != 0 && now - self->drawn < DRAWN_US) return TRUE;
  return rate || (keepalive > 0 && now - self->pushed >= keepalive);
}

/* A copy of the last frame if one is due, else NULL. */
static GstBuffer *repeat_frame(GstVirtgpuSrc *self, gint64 now) {
  GST_OBJECT_LOCK(self);
  gint64 keepalive = (gint64)self->settings.keepalive_time * 1000;
  GST_OBJECT_UNLOCK(self);
  if (!self->last_frame || keepalive == 0 || now - self->pushed < keepalive) return NULL;
  return gst_buffer_copy(self->last_frame);
}

/* The frame to push while the screen is on; NULL with GST_FLOW_OK if none is due. */
static GstFlowReturn capture(GstVirtgpuSrc *self, const VencKmsView *view, gint64 now,
                             GstBuffer **frame) {
  GstVirtgpuSrcContent content = content_of(view);
  gboolean changed;

  self->warned_off = FALSE;
  if (!is_due(self, &content, now)) return GST_FLOW_OK;
  if (!gst_virtgpu_src_set_picture(self, view, &changed)) return GST_FLOW_ERROR;
  if (changed && !gst_base_src_negotiate(GST_BASE_SRC(self)))
    return GST_PAD_IS_FLUSHING(GST_BASE_SRC_PAD(self)) ? GST_FLOW_FLUSHING
                                                       : GST_FLOW_NOT_NEGOTIATED;
  GstFlowReturn flow = gst_virtgpu_src_make_frame(self, view, frame);
  if (flow == GST_FLOW_OK) self->content = content;
  return flow;
}

GstFlowReturn gst_virtgpu_src_create(GstPushSrc *push, GstBuffer **frame) {
  GstVirtgpuSrc *self = GST_VIRTGPU_SRC(push);

  *frame = NULL;
  while (gst_virtgpu_src_wait_until(self, self->next)) {
    VencKmsView view;
    if (!gst_virtgpu_src_look(self, &view)) return GST_FLOW_ERROR;
    gint64 now = g_get_monotonic_time();
    GstClockTime time = gst_element_get_current_running_time(GST_ELEMENT(self));
    if (view.screen) {
      GstFlowReturn flow = capture(self, &view, now, frame);
      if (flow != GST_FLOW_OK) return flow;
    } else {
      gst_virtgpu_src_warn_off(self);
      *frame = repeat_frame(self, now);
    }
    if (*frame) {
      GST_BUFFER_PTS(*frame) = GST_BUFFER_DTS(*frame) = time;
      gst_buffer_replace(&self->last_frame, *frame);
      self->pushed = now;
      /* Along a grid, unless downstream was slower than that. */
      self->next = MAX(self->next + self->interval, now);
      return GST_FLOW_OK;
    }
    self->next = now + (view.screen ? LOOK_US : VIRTGPUSRC_OFF_LOOK_US);
  }
  return GST_FLOW_FLUSHING;
}
