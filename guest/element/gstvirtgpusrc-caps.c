/* Caps of a screen: pure functions, including the differences between GStreamer versions. */
#include <gst/allocators/allocators.h>

#include "gstvirtgpusrc-private.h"
#include "vsockenc-formats.h"

#define RATES "framerate = (fraction) [ 0/1, MAX ]"
#define SIZES "width = (int) [ 1, MAX ], height = (int) [ 1, MAX ], " RATES
#define DMABUF_FEATURE "(" GST_CAPS_FEATURE_MEMORY_DMABUF ")"

GstCaps *gst_virtgpu_src_template_caps(void) {
  return gst_caps_from_string(
#if GST_CHECK_VERSION(1, 24, 0)
      "video/x-raw" DMABUF_FEATURE ", format = (string) DMA_DRM, " SIZES
      "; "
#endif
      "video/x-raw" DMABUF_FEATURE ", format = (string) " VSOCKENC_PACKED_FORMATS ", " SIZES
      "; "
      "video/x-raw, format = (string) " VSOCKENC_PACKED_FORMATS ", " SIZES);
}

/* Only formats with one plane, as framebuffers have here (kms.h). */
static GstVideoFormat format_of(guint32 fourcc) {
  switch (fourcc) {
#define FORMAT(gst, drm, planes, ...) \
  case drm:                           \
    return planes == 1 ? GST_VIDEO_FORMAT_##gst : GST_VIDEO_FORMAT_UNKNOWN;
    VSOCKENC_PIXEL_FORMATS(FORMAT)
#undef FORMAT
    default:
      return GST_VIDEO_FORMAT_UNKNOWN;
  }
}

gboolean gst_virtgpu_src_describe(const VencKmsView *view, GstVirtgpuSrcPicture *picture) {
  *picture = (GstVirtgpuSrcPicture){
      .format = format_of(view->screen->fourcc),
      .fourcc = view->screen->fourcc,
      .modifier = view->screen->modifier,
      .width = view->plane.width,
      .height = view->plane.height,
  };
  return picture->format != GST_VIDEO_FORMAT_UNKNOWN;
}

static void append(GstCaps *caps, const GstVirtgpuSrcPicture *picture, const gchar *format,
                   const gchar *drm_format, gboolean dmabuf) {
  GstStructure *structure = gst_structure_new(
      "video/x-raw", "format", G_TYPE_STRING, format, "width", G_TYPE_INT, (gint)picture->width,
      "height", G_TYPE_INT, (gint)picture->height, "framerate", GST_TYPE_FRACTION_RANGE, 0, 1,
      G_MAXINT, 1, "pixel-aspect-ratio", GST_TYPE_FRACTION, 1, 1, NULL);
  if (drm_format) gst_structure_set(structure, "drm-format", G_TYPE_STRING, drm_format, NULL);
  GstCapsFeatures *features =
      dmabuf ? gst_caps_features_new_single(GST_CAPS_FEATURE_MEMORY_DMABUF) : NULL;
  gst_caps_append_structure_full(caps, structure, features);
}

GstCaps *gst_virtgpu_src_make_caps(const GstVirtgpuSrcPicture *picture, gboolean readable) {
  GstCaps *caps = gst_caps_new_empty();
  const gchar *format = gst_video_format_to_string(picture->format);
#if GST_CHECK_VERSION(1, 24, 0)
  g_autofree gchar *drm = gst_video_dma_drm_fourcc_to_string(picture->fourcc, picture->modifier);
  append(caps, picture, "DMA_DRM", drm, TRUE);
#endif
  /* The other kinds of caps cannot express a modifier. */
  if (picture->modifier != 0) return caps;
  append(caps, picture, format, NULL, TRUE);
  if (readable) append(caps, picture, format, NULL, FALSE);
  return caps;
}

gboolean gst_virtgpu_src_parse_caps(GstCaps *caps, const GstVirtgpuSrcPicture *picture,
                                    GstVideoInfo *info, gboolean *dmabuf) {
  const GstStructure *structure = gst_caps_get_structure(caps, 0);
  gint fps_n = 0, fps_d = 1, width = 0, height = 0;
  if (!gst_structure_get_int(structure, "width", &width) ||
      !gst_structure_get_int(structure, "height", &height) || width != (gint)picture->width ||
      height != (gint)picture->height)
    return FALSE;
  gst_structure_get_fraction(structure, "framerate", &fps_n, &fps_d);
  gst_video_info_set_format(info, picture->format, picture->width, picture->height);
  info->fps_n = fps_n;
  info->fps_d = fps_d;
  *dmabuf =
      gst_caps_features_contains(gst_caps_get_features(caps, 0), GST_CAPS_FEATURE_MEMORY_DMABUF);
  return TRUE;
}
