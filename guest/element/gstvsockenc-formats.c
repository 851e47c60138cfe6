/* Caps, formats and colours: pure functions, including the differences between GStreamer versions.
 */
#include <string.h>

#include "gstvsockenc-private.h"
#include "vsockenc-formats.h"

#define SIZE_CAPS \
  "width = (int) [ " G_STRINGIFY(16) ", " G_STRINGIFY(16384) " ], "             \
  "height = (int) [ " G_STRINGIFY(16) ", " G_STRINGIFY(16384) " ], "            \
  "framerate = (fraction) [ 0/1, MAX ]"
G_STATIC_ASSERT(VSOCKENC_MIN_DIMENSION == 16 && VSOCKENC_MAX_DIMENSION == 16384);

/* Taller YUV without a matrix in its caps is BT.709, as in GStreamer. */
#define LAST_SD_HEIGHT 576

#define DMABUF_FEATURE "(" GST_CAPS_FEATURE_MEMORY_DMABUF ")"

GstCaps *gst_vsock_enc_sink_caps(void) {
  return gst_caps_from_string(
#if GST_CHECK_VERSION(1, 24, 0)
      /* Which drm-formats there are depends on the host; see gst_vsock_enc_limit_caps(). */
      "video/x-raw" DMABUF_FEATURE ", format = (string) DMA_DRM, " SIZE_CAPS
      "; "
#endif
      "video/x-raw" DMABUF_FEATURE ", format = (string) " VSOCKENC_FORMATS ", " SIZE_CAPS
      "; "
      "video/x-raw, format = (string) " VSOCKENC_FORMATS ", " SIZE_CAPS);
}

#if GST_CHECK_VERSION(1, 24, 0)
/* Every format with every modifier that the host reads; linear ones have no modifier in caps. */
static void set_drm_formats(GstStructure *structure, const VencHost *host) {
#define FOURCC(gst, drm, ...) drm,
  static const guint32 fourccs[] = {VSOCKENC_PIXEL_FORMATS(FOURCC)};
#undef FOURCC
  GValue list = G_VALUE_INIT;
  g_value_init(&list, GST_TYPE_LIST);
  for (guint m = 0; m <= host->n_modifiers; m++) {
    guint64 modifier = m == 0 ? 0 : host->modifiers[m - 1];
    if (m > 0 && modifier == 0) continue;
    for (guint i = 0; i < G_N_ELEMENTS(fourccs); i++) {
      GValue name = G_VALUE_INIT;
      g_value_init(&name, G_TYPE_STRING);
      g_value_take_string(&name, gst_video_dma_drm_fourcc_to_string(fourccs[i], modifier));
      gst_value_list_append_and_take_value(&list, &name);
    }
  }
  gst_structure_take_value(structure, "drm-format", &list);
}
#endif

void gst_vsock_enc_limit_caps(GstCaps *caps, const VencHost *host, guint max_width,
                              guint max_height) {
  for (guint i = 0; i < gst_caps_get_size(caps); i++) {
    GstStructure *structure = gst_caps_get_structure(caps, i);
    gst_structure_set(structure, "width", GST_TYPE_INT_RANGE, VSOCKENC_MIN_DIMENSION,
                      (gint)max_width, "height", GST_TYPE_INT_RANGE, VSOCKENC_MIN_DIMENSION,
                      (gint)max_height, NULL);
#if GST_CHECK_VERSION(1, 24, 0)
    if (g_strcmp0(gst_structure_get_string(structure, "format"), "DMA_DRM") == 0)
      set_drm_formats(structure, host);
#endif
  }
#if !GST_CHECK_VERSION(1, 24, 0)
  (void)host;
#endif
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
 * Fills what the caps leave open: YUV gets the matrix that GStreamer assumes for the size. RGB has
 * none, even if the caps name one.
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

static gboolean host_reads(const VencHost *host, guint64 modifier) {
  if (modifier == 0) return TRUE;
  for (guint i = 0; i < host->n_modifiers; i++)
    if (host->modifiers[i] == modifier) return TRUE;
  return FALSE;
}

static gboolean parse_drm_caps(GstCaps *caps, const VencHost *host, VencPicture *picture,
                               GError **error) {
  GstVideoInfo *info = &picture->info;
  GstVideoInfoDmaDrm drm;
  if (!gst_video_info_dma_drm_from_caps(&drm, caps)) {
    g_set_error_literal(error, VENC_ERROR, VENC_ERROR_CONFIGURATION, "DMA_DRM caps without format");
    return FALSE;
  }
  GstVideoFormat format = format_of(drm.drm_fourcc);
  if (format == GST_VIDEO_FORMAT_UNKNOWN || !host_reads(host, drm.drm_modifier)) {
    g_autofree gchar *name = gst_video_dma_drm_fourcc_to_string(drm.drm_fourcc, drm.drm_modifier);
    g_set_error(error, VENC_ERROR, VENC_ERROR_CONFIGURATION,
                "drm-format %s (modifier 0x%016" G_GINT64_MODIFIER
                "x): the host reads " VSOCKENC_DRM_FORMATS " with the linear modifier%s",
                name, drm.drm_modifier,
                host->n_modifiers > 0 ? " and the others that the element's caps name" : " only");
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
  picture->fourcc = drm.drm_fourcc;
  picture->modifier = drm.drm_modifier;
  return TRUE;
}
#endif

static gboolean parse_plain_caps(GstCaps *caps, VencPicture *picture, GError **error) {
  if (gst_video_info_from_caps(&picture->info, caps) &&
      (picture->fourcc = fourcc_of(GST_VIDEO_INFO_FORMAT(&picture->info))))
    return TRUE;
  g_set_error_literal(error, VENC_ERROR, VENC_ERROR_CONFIGURATION,
                      "the host reads " VSOCKENC_FORMATS " only");
  return FALSE;
}

gboolean gst_vsock_enc_parse_caps(GstCaps *caps, const VencHost *host, VencPicture *picture,
                                  GError **error) {
  *picture = (VencPicture){0};
#if GST_CHECK_VERSION(1, 24, 0)
  gboolean parsed = gst_video_is_dma_drm_caps(caps) ? parse_drm_caps(caps, host, picture, error)
                                                    : parse_plain_caps(caps, picture, error);
#else
  gboolean parsed = parse_plain_caps(caps, picture, error);
  (void)host;
#endif
  if (!parsed) return FALSE;
  if (GST_VIDEO_INFO_IS_INTERLACED(&picture->info)) {
    g_set_error_literal(error, VENC_ERROR, VENC_ERROR_CONFIGURATION,
                        "interlaced video; put a deinterlace element in front");
    return FALSE;
  }
  complete_colorimetry(&picture->info);
  return TRUE;
}

/* "Unspecified" is 0 on the wire, and 2 in the standards. */
static guint wire_code(guint code) {
  return code == 2 ? 0 : code;
}

gboolean gst_vsock_enc_colorimetry_to_wire(const GstVideoColorimetry *from,
                                           vsockenc_Colorimetry *to) {
  to->primaries = wire_code(gst_video_color_primaries_to_iso(from->primaries));
  to->transfer = wire_code(gst_video_transfer_function_to_iso(from->transfer));
  to->matrix = wire_code(gst_video_color_matrix_to_iso(from->matrix));
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
