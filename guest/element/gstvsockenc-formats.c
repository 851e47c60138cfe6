/* Caps, formats and colours: pure functions, with what differs between GStreamer's versions. */
#include <string.h>

#include "gstvsockenc-private.h"
#include "vsockenc-formats.h"

#define SIZE_CAPS \
  "width = (int) [ " G_STRINGIFY(16) ", " G_STRINGIFY(16384) " ], "             \
  "height = (int) [ " G_STRINGIFY(16) ", " G_STRINGIFY(16384) " ], "            \
  "framerate = (fraction) [ 0/1, MAX ]"
G_STATIC_ASSERT(VSOCKENC_MIN_DIMENSION == 16 && VSOCKENC_MAX_DIMENSION == 16384);

/* Taller YUV without a matrix in its caps is taken for BT.709, as GStreamer does. */
#define LAST_SD_HEIGHT 576

#define DMABUF_FEATURE "(" GST_CAPS_FEATURE_MEMORY_DMABUF ")"

GstCaps *gst_vsock_enc_sink_caps(void) {
  return gst_caps_from_string(
#if GST_CHECK_VERSION(1, 24, 0)
      "video/x-raw" DMABUF_FEATURE
      ", format = (string) DMA_DRM, drm-format = (string) " VSOCKENC_DRM_FORMATS ", " SIZE_CAPS
      "; "
#endif
      "video/x-raw" DMABUF_FEATURE ", format = (string) " VSOCKENC_FORMATS ", " SIZE_CAPS
      "; "
      "video/x-raw, format = (string) " VSOCKENC_FORMATS ", " SIZE_CAPS);
}

gboolean gst_vsock_enc_is_dmabuf_caps(const GstCaps *caps) {
  GstCapsFeatures *features = gst_caps_get_features(caps, 0);
  return features && gst_caps_features_contains(features, GST_CAPS_FEATURE_MEMORY_DMABUF);
}

static guint32 fourcc_of(GstVideoFormat format) {
  switch (format) {
#define FOURCC(gst, drm, ...)  \
  case GST_VIDEO_FORMAT_##gst: \
    return drm;
    VSOCKENC_PIXEL_FORMATS(FOURCC)
#undef FOURCC
    default:
      return 0;
  }
}

/*
 * What the caps leave open, as the host needs it: YUV has a matrix, the one GStreamer assumes for
 * the size, and RGB has none, whatever the caps say.
 */
static void complete_colorimetry(GstVideoInfo *info) {
  GstVideoColorimetry *colorimetry = &info->colorimetry;
  if (!GST_VIDEO_INFO_IS_YUV(info)) {
    colorimetry->matrix = GST_VIDEO_COLOR_MATRIX_RGB;
    return;
  }
  if (colorimetry->matrix == GST_VIDEO_COLOR_MATRIX_UNKNOWN ||
      colorimetry->matrix == GST_VIDEO_COLOR_MATRIX_RGB)
    colorimetry->matrix =
        info->height > LAST_SD_HEIGHT ? GST_VIDEO_COLOR_MATRIX_BT709 : GST_VIDEO_COLOR_MATRIX_BT601;
  if (colorimetry->range == GST_VIDEO_COLOR_RANGE_UNKNOWN)
    colorimetry->range = GST_VIDEO_COLOR_RANGE_16_235;
}

#if GST_CHECK_VERSION(1, 24, 0)
static GstVideoFormat format_of(guint32 fourcc) {
  switch (fourcc) {
#define FORMAT(gst, drm, ...) \
  case drm:                   \
    return GST_VIDEO_FORMAT_##gst;
    VSOCKENC_PIXEL_FORMATS(FORMAT)
#undef FORMAT
    default:
      return GST_VIDEO_FORMAT_UNKNOWN;
  }
}

static gboolean parse_drm_caps(GstCaps *caps, GstVideoInfo *info, guint32 *fourcc, GError **error) {
  GstVideoInfoDmaDrm drm;
  if (!gst_video_info_dma_drm_from_caps(&drm, caps)) {
    g_set_error_literal(error, VENC_ERROR, VENC_ERROR_CONFIGURATION, "DMA_DRM caps without format");
    return FALSE;
  }
  GstVideoFormat format = format_of(drm.drm_fourcc);
  if (format == GST_VIDEO_FORMAT_UNKNOWN || drm.drm_modifier != 0) {
    g_autofree gchar *name = gst_video_dma_drm_fourcc_to_string(drm.drm_fourcc, drm.drm_modifier);
    g_set_error(error, VENC_ERROR, VENC_ERROR_CONFIGURATION,
                "drm-format %s (modifier 0x%016" G_GINT64_MODIFIER
                "x): the host reads " VSOCKENC_DRM_FORMATS " with the linear modifier only",
                name, drm.drm_modifier);
    return FALSE;
  }
  GstVideoInfo *from = &drm.vinfo;
  gst_video_info_set_format(info, format, (guint)from->width, (guint)from->height);
  info->par_n = from->par_n;
  info->par_d = from->par_d;
  info->fps_n = from->fps_n;
  info->fps_d = from->fps_d;
  info->flags = from->flags;
  info->interlace_mode = from->interlace_mode;
  if (from->colorimetry.primaries != GST_VIDEO_COLOR_PRIMARIES_UNKNOWN)
    info->colorimetry = from->colorimetry;
  complete_colorimetry(info);
  *fourcc = drm.drm_fourcc;
  return TRUE;
}
#endif

gboolean gst_vsock_enc_parse_caps(GstCaps *caps, GstVideoInfo *info, guint32 *fourcc,
                                  GError **error) {
#if GST_CHECK_VERSION(1, 24, 0)
  if (gst_video_is_dma_drm_caps(caps)) return parse_drm_caps(caps, info, fourcc, error);
#endif
  if (!gst_video_info_from_caps(info, caps) ||
      !(*fourcc = fourcc_of(GST_VIDEO_INFO_FORMAT(info)))) {
    g_set_error_literal(error, VENC_ERROR, VENC_ERROR_CONFIGURATION,
                        "the host reads " VSOCKENC_FORMATS " only");
    return FALSE;
  }
  if (GST_VIDEO_INFO_IS_INTERLACED(info)) {
    g_set_error_literal(error, VENC_ERROR, VENC_ERROR_CONFIGURATION,
                        "interlaced video; put a deinterlace element in front");
    return FALSE;
  }
  complete_colorimetry(info);
  return TRUE;
}

/* On the wire 0 means "not told"; the standards' own word for that is 2. */
static guint told(guint code) {
  return code == 2 ? 0 : code;
}

gboolean gst_vsock_enc_colorimetry_to_wire(const GstVideoColorimetry *from,
                                           vsockenc_Colorimetry *to) {
  to->primaries = told(gst_video_color_primaries_to_iso(from->primaries));
  to->transfer = told(gst_video_transfer_function_to_iso(from->transfer));
  to->matrix = told(gst_video_color_matrix_to_iso(from->matrix));
  to->full_range = from->range == GST_VIDEO_COLOR_RANGE_0_255;
  return to->primaries || to->transfer || to->matrix || to->full_range;
}

void gst_vsock_enc_colorimetry_from_wire(const vsockenc_Colorimetry *from,
                                         GstVideoColorimetry *to) {
  to->primaries = gst_video_color_primaries_from_iso(from->primaries);
  to->transfer = gst_video_transfer_function_from_iso(from->transfer);
  to->matrix =
      from->matrix ? gst_video_color_matrix_from_iso(from->matrix) : GST_VIDEO_COLOR_MATRIX_UNKNOWN;
  to->range = from->full_range ? GST_VIDEO_COLOR_RANGE_0_255 : GST_VIDEO_COLOR_RANGE_16_235;
}

const guint8 *gst_vsock_enc_find_sps(const guint8 *unit, gsize size, guint *sps_size) {
  const guint8 nal_sps = 7, nal_slice = 1, nal_idr = 5;
  for (gsize i = 0; i + 4 < size; i++) {
    if (unit[i] != 0 || unit[i + 1] != 0 || unit[i + 2] != 1) continue;
    guint8 type = unit[i + 3] & 0x1f;
    /* Parameter sets stand before the picture: no need to search all of it. */
    if (type == nal_slice || type == nal_idr) return NULL;
    if (type != nal_sps) continue;
    *sps_size = (guint)MIN(size - (i + 4), G_MAXUINT16);
    return unit + i + 4;
  }
  return NULL;
}
