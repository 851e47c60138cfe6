/*
 * The parts of virtgpusrc: states, caps and negotiation (gstvirtgpusrc.c), pacing (-capture.c), and
 * frames with their memory (-frame.c). All run in the streaming thread, except for
 * property setters and the caps query: the object's lock guards `settings` and `picture` for them.
 */
#ifndef GST_VIRTGPU_SRC_PRIVATE_H
#define GST_VIRTGPU_SRC_PRIVATE_H

#include <gst/video/video.h>

#include "gstvirtgpusrc.h"
#include "virtgpusrc-properties.h"

GST_DEBUG_CATEGORY_EXTERN(gst_virtgpu_src_debug);
#define GST_CAT_DEFAULT gst_virtgpu_src_debug

/* The part of the screen that decides the caps: a change is negotiated. */
typedef struct {
  GstVideoFormat format; /* UNKNOWN: nothing has been on the screen yet */
  guint32 fourcc;
  guint64 modifier;
  guint width, height;
} GstVirtgpuSrcPicture;

/* Identifies the content of a frame: it differs if the screen has changed. */
typedef struct {
  guint32 resource, damage;
  guint32 cursor, cursor_damage;
  gint32 cursor_x, cursor_y;
  guint32 source_x, source_y;
} GstVirtgpuSrcContent;

#define GST_VIRTGPU_SRC(object) \
  G_TYPE_CHECK_INSTANCE_CAST((object), GST_TYPE_VIRTGPU_SRC, GstVirtgpuSrc)

struct _GstVirtgpuSrc {
  GstPushSrc parent;
  GstVirtgpuSrcSettings settings; /* object's lock */
  GstVirtgpuSrcPicture picture;   /* object's lock */
  VencKms *kms;
  GstAllocator *allocator; /* of copies as DmaBufs; NULL without cursor */
  gboolean cursor;         /* the setting when it was started */

  /* Negotiated. */
  GstVideoInfo info; /* of the pixels, also where the caps say DMA_DRM */
  gboolean dmabuf;
  gint64 interval;

  /* Pacing, in monotonic time of µs; 0: never. */
  gint64 next; /* when to look */
  gint64 pushed;
  gint64 drawn;                 /* when the shown buffer was seen being drawn into */
  GstVirtgpuSrcContent content; /* of the last frame */
  GstBuffer *last_frame;        /* for the time when the screen is off */
  gboolean warned_off;

  gboolean unlocked; /* object's lock, with `wake` */
  GCond wake;
};

/* -capture.c */
/* Between two looks at a screen that is off. */
#define VIRTGPUSRC_OFF_LOOK_US 200000
void gst_virtgpu_src_post_error(GstVirtgpuSrc *self, const GError *error);
/* FALSE: no later poll can succeed; an error has been posted. */
gboolean gst_virtgpu_src_look(GstVirtgpuSrc *self, VencKmsView *view);
/* Adopts size and format of the screen. FALSE: unsupported; an error has been posted. */
gboolean gst_virtgpu_src_set_picture(GstVirtgpuSrc *self, const VencKmsView *view,
                                     gboolean *changed);
void gst_virtgpu_src_warn_off(GstVirtgpuSrc *self);
/* Until `time` (monotonic, µs). FALSE: the base class wants the thread back. */
gboolean gst_virtgpu_src_wait_until(GstVirtgpuSrc *self, gint64 time);
GstFlowReturn gst_virtgpu_src_create(GstPushSrc *push, GstBuffer **frame);

/* -frame.c */
/* A buffer with the content of `view`: the framebuffer itself, or a copy where one is needed. */
GstFlowReturn gst_virtgpu_src_make_frame(GstVirtgpuSrc *self, const VencKmsView *view,
                                         GstBuffer **frame);

#endif
