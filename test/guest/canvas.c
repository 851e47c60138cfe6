#include "canvas.h"

#include "pattern.h"

struct _Canvas {
  GstVideoInfo info;
  Pattern *pattern;
  /* For YUV alone. */
  GstVideoFrame picture; /* BGRx */
  GstBuffer *memory;
  gint64 holds; /* number of the frame in `picture`, or -1 */
  GstVideoConverter *converter;
};

Canvas *canvas_new(const GstVideoInfo *info) {
  guint width = (guint)info->width, height = (guint)info->height;
  gboolean yuv = GST_VIDEO_INFO_IS_YUV(info);
  Pattern *pattern =
      pattern_new(width, height, yuv ? "BGRx" : gst_video_format_to_string(info->finfo->format));
  if (!pattern) return NULL;
  Canvas *canvas = g_new0(Canvas, 1);
  canvas->info = *info;
  canvas->pattern = pattern;
  canvas->holds = -1;
  if (yuv) {
    GstVideoInfo rgb;
    gst_video_info_set_format(&rgb, GST_VIDEO_FORMAT_BGRx, width, height);
    canvas->memory = gst_buffer_new_allocate(NULL, rgb.size, NULL);
    gst_video_frame_map(&canvas->picture, &rgb, canvas->memory, GST_MAP_READWRITE);
    canvas->converter = gst_video_converter_new(&rgb, &canvas->info, NULL);
  }
  return canvas;
}

void canvas_free(Canvas *canvas) {
  if (!canvas) return;
  if (canvas->converter) {
    gst_video_converter_free(canvas->converter);
    gst_video_frame_unmap(&canvas->picture);
    gst_buffer_unref(canvas->memory);
  }
  pattern_free(canvas->pattern);
  g_free(canvas);
}

void canvas_draw(Canvas *canvas, guint8 *const *planes, guint number, gint64 before) {
  if (!canvas->converter) {
    pattern_draw(canvas->pattern, planes[0], (gsize)canvas->info.stride[0], number, before);
    return;
  }
  GstVideoFrame target = {.info = canvas->info};
  for (guint i = 0; i < GST_VIDEO_INFO_N_PLANES(&canvas->info); i++) target.data[i] = planes[i];
  pattern_draw(canvas->pattern, GST_VIDEO_FRAME_PLANE_DATA(&canvas->picture, 0),
               (gsize)GST_VIDEO_FRAME_PLANE_STRIDE(&canvas->picture, 0), number, canvas->holds);
  canvas->holds = number;
  gst_video_converter_frame(canvas->converter, &canvas->picture, &target);
}
