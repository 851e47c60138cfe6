/*
 * Caps negotiation: upstream gets the sizes and memory that the host accepts, downstream the codecs
 * and profiles that the host offers. Downstream chooses among these by its caps.
 *
 * Before the element is open only the pads' templates are known. Differences between versions of
 * GStreamer are kept here.
 */
#include <gst/pbutils/pbutils.h>

#include "gstvsockenc-private.h"
#include "planes.h"
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
static guint64 modifier_at(const vsockenc_Welcome *host, guint i) {
  return (guint64)host->modifiers[i].high << 32 | host->modifiers[i].low;
}

/* Every format with every modifier that the host reads; linear ones have no modifier in caps. */
static void set_drm_formats(GstStructure *structure, const vsockenc_Welcome *host) {
#define FOURCC(gst, drm, ...) drm,
  static const guint32 fourccs[] = {VSOCKENC_PIXEL_FORMATS(FOURCC)};
#undef FOURCC
  GValue list = G_VALUE_INIT;
  g_value_init(&list, GST_TYPE_LIST);
  for (guint m = 0; m <= host->modifiers_count; m++) {
    guint64 modifier = m == 0 ? 0 : modifier_at(host, m - 1);
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

/* Narrows sink caps to those that `host` accepts. */
static void limit_caps(GstCaps *caps, const vsockenc_Welcome *host, guint max_width,
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
static gboolean host_reads(const vsockenc_Welcome *host, guint64 modifier) {
  if (modifier == 0) return TRUE;
  for (guint i = 0; i < host->modifiers_count; i++)
    if (modifier_at(host, i) == modifier) return TRUE;
  return FALSE;
}

static gboolean parse_drm_caps(GstCaps *caps, const vsockenc_Welcome *host, VencPicture *picture,
                               GError **error) {
  GstVideoInfo *info = &picture->info;
  GstVideoInfoDmaDrm drm;
  if (!gst_video_info_dma_drm_from_caps(&drm, caps)) {
    g_set_error_literal(error, VENC_ERROR, VENC_ERROR_CONFIGURATION, "DMA_DRM caps without format");
    return FALSE;
  }
  GstVideoFormat format = venc_format_of(drm.drm_fourcc);
  if (format == GST_VIDEO_FORMAT_UNKNOWN || !host_reads(host, drm.drm_modifier)) {
    g_autofree gchar *name = gst_video_dma_drm_fourcc_to_string(drm.drm_fourcc, drm.drm_modifier);
    g_set_error(
        error, VENC_ERROR, VENC_ERROR_CONFIGURATION,
        "drm-format %s (modifier 0x%016" G_GINT64_MODIFIER
        "x): the host reads " VSOCKENC_DRM_FORMATS " with the linear modifier%s",
        name, drm.drm_modifier,
        host->modifiers_count > 0 ? " and the others that the element's caps name" : " only");
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
      (picture->fourcc = venc_fourcc_of(GST_VIDEO_INFO_FORMAT(&picture->info))))
    return TRUE;
  g_set_error_literal(error, VENC_ERROR, VENC_ERROR_CONFIGURATION,
                      "the host reads " VSOCKENC_FORMATS " only");
  return FALSE;
}

gboolean gst_vsock_enc_parse_caps(GstCaps *caps, const vsockenc_Welcome *host, VencPicture *picture,
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

static const struct {
  vsockenc_Codec codec;
  const gchar *media, *in_band, *packetized;
} CODECS[] = {
#define CODEC(codec, media, in_band, packetized) \
  {vsockenc_Codec_##codec, media, in_band, packetized},
    VSOCKENC_OUTPUTS(CODEC)
#undef CODEC
};

static const struct {
  vsockenc_Codec codec;
  const gchar *name;
  vsockenc_Profile profile;
} PROFILES[] = {
#define PROFILE(codec, name, profile) {vsockenc_Codec_##codec, name, vsockenc_Profile_##profile},
    VSOCKENC_PROFILES(PROFILE)
#undef PROFILE
};

static gboolean get_host(GstVsockEnc *self, vsockenc_Welcome *host) {
  GST_OBJECT_LOCK(self);
  gboolean is_open = self->session != NULL;
  if (is_open) venc_session_get_host(self->session, host);
  GST_OBJECT_UNLOCK(self);
  return is_open;
}

/* Largest width or height of an offer; 0 on the wire means unknown. */
static guint limit_of(guint offered) {
  return offered ? MIN(offered, VSOCKENC_MAX_DIMENSION) : VSOCKENC_MAX_DIMENSION;
}

static void append_string(GValue *list, const gchar *text) {
  GValue value = G_VALUE_INIT;
  g_value_init(&value, G_TYPE_STRING);
  g_value_set_static_string(&value, text);
  gst_value_list_append_and_take_value(list, &value);
}

/* Names of `profile` in caps; all of the codec's for PROFILE_UNSPECIFIED. */
static void append_profiles(GValue *list, vsockenc_Codec codec, vsockenc_Profile profile) {
  for (guint i = 0; i < G_N_ELEMENTS(PROFILES); i++)
    if (PROFILES[i].codec == codec &&
        (profile == vsockenc_Profile_PROFILE_UNSPECIFIED || PROFILES[i].profile == profile))
      append_string(list, PROFILES[i].name);
}

/* Caps of one offer. An offer without profiles may be of any profile. */
static GstCaps *offer_caps(const vsockenc_EncoderOffer *offer) {
  GstCaps *caps = gst_caps_new_empty();
  for (guint i = 0; i < G_N_ELEMENTS(CODECS); i++) {
    GValue formats = G_VALUE_INIT, profiles = G_VALUE_INIT;
    if (CODECS[i].codec != offer->codec) continue;
    g_value_init(&formats, GST_TYPE_LIST);
    append_string(&formats, CODECS[i].in_band);
    append_string(&formats, CODECS[i].packetized);
    g_value_init(&profiles, GST_TYPE_LIST);
    for (guint p = 0; p < offer->profiles_count; p++)
      if (offer->profiles[p] != vsockenc_Profile_PROFILE_UNSPECIFIED)
        append_profiles(&profiles, offer->codec, offer->profiles[p]);
    if (offer->profiles_count == 0)
      append_profiles(&profiles, offer->codec, vsockenc_Profile_PROFILE_UNSPECIFIED);
    GstStructure *structure =
        gst_structure_new(CODECS[i].media, "alignment", G_TYPE_STRING, "au", NULL);
    gst_structure_take_value(structure, "stream-format", &formats);
    gboolean possible = gst_value_list_get_size(&profiles) > 0;
    /* gst_caps_to_string() would show a list of one as such, in errors too. */
    if (gst_value_list_get_size(&profiles) == 1) {
      gst_structure_set_value(structure, "profile", gst_value_list_get_value(&profiles, 0));
      g_value_unset(&profiles);
    } else {
      gst_structure_take_value(structure, "profile", &profiles);
    }
    if (possible)
      gst_caps_append_structure(caps, structure);
    else
      gst_structure_free(structure);
  }
  return caps;
}

static GstCaps *host_caps(const vsockenc_Welcome *host) {
  GstCaps *caps = gst_caps_new_empty();
  for (guint i = 0; i < host->encoders_count; i++)
    caps = gst_caps_merge(caps, offer_caps(&host->encoders[i]));
  return caps;
}

GstCaps *gst_vsock_enc_src_caps(void) {
  vsockenc_Welcome everything = {0};
  for (guint i = 0; i < G_N_ELEMENTS(CODECS); i++)
    everything.encoders[everything.encoders_count++].codec = CODECS[i].codec;
  return host_caps(&everything);
}

GstCaps *gst_vsock_enc_getcaps(GstVideoEncoder *encoder, GstCaps *filter) {
  vsockenc_Welcome host;
  guint width = 0, height = 0, any_width = 0, any_height = 0;

  if (!get_host(GST_VSOCK_ENC(encoder), &host))
    return gst_video_encoder_proxy_getcaps(encoder, NULL, filter);
  g_autoptr(GstCaps) wanted = gst_pad_peer_query_caps(GST_VIDEO_ENCODER_SRC_PAD(encoder), NULL);
  for (guint i = 0; i < host.encoders_count; i++) {
    const vsockenc_EncoderOffer *offer = &host.encoders[i];
    g_autoptr(GstCaps) caps = offer_caps(offer);
    any_width = MAX(any_width, limit_of(offer->max_width));
    any_height = MAX(any_height, limit_of(offer->max_height));
    if (!gst_caps_can_intersect(wanted, caps)) continue;
    width = MAX(width, limit_of(offer->max_width));
    height = MAX(height, limit_of(offer->max_height));
  }
  /* If downstream accepts none of the offers, set_format posts an error that names them. */
  if (width == 0) width = any_width > 0 ? any_width : VSOCKENC_MAX_DIMENSION;
  if (height == 0) height = any_height > 0 ? any_height : VSOCKENC_MAX_DIMENSION;
  g_autoptr(GstCaps) caps = gst_vsock_enc_sink_caps();
  limit_caps(caps, &host, MAX(width, VSOCKENC_MIN_DIMENSION), MAX(height, VSOCKENC_MIN_DIMENSION));
  return gst_video_encoder_proxy_getcaps(encoder, caps, filter);
}

gboolean gst_vsock_enc_answer_src_caps(GstVsockEnc *self, GstQuery *query) {
  vsockenc_Welcome host;
  if (!get_host(self, &host)) return FALSE;
  g_autoptr(GstCaps) caps = host_caps(&host);
  GstCaps *filter;
  gst_query_parse_caps(query, &filter);
  if (filter) {
    GstCaps *all = g_steal_pointer(&caps);
    caps = gst_caps_intersect_full(filter, all, GST_CAPS_INTERSECT_FIRST);
    gst_caps_unref(all);
  }
  gst_query_set_caps_result(query, caps);
  return TRUE;
}

#if GST_CHECK_VERSION(1, 24, 0)
/* TRUE the first time for each modifier, up to a limit, so the bus is not flooded. */
static gboolean is_news(GstVsockEnc *self, guint64 modifier) {
  gboolean news = TRUE;
  GST_OBJECT_LOCK(self);
  for (guint i = 0; i < self->n_refused_modifiers; i++)
    if (self->refused_modifiers[i] == modifier) news = FALSE;
  if (self->n_refused_modifiers == G_N_ELEMENTS(self->refused_modifiers)) news = FALSE;
  if (news) self->refused_modifiers[self->n_refused_modifiers++] = modifier;
  GST_OBJECT_UNLOCK(self);
  return news;
}

/*
 * Upstream reports rejected caps as "not negotiated" only, so a warning names the modifier. It is
 * not an error: elements such as videoconvert and glupload try several caps and convert to accepted
 * ones.
 */
void gst_vsock_enc_explain_refusal(GstVsockEnc *self, GstQuery *query) {
  vsockenc_Welcome host;
  VencPicture picture;
  GstVideoInfoDmaDrm drm;
  GstCaps *caps;
  gboolean accepted = FALSE;
  g_autoptr(GError) error = NULL;
  gst_query_parse_accept_caps(query, &caps);
  gst_query_parse_accept_caps_result(query, &accepted);
  if (accepted || !get_host(self, &host) || !gst_video_is_dma_drm_caps(caps) ||
      gst_vsock_enc_parse_caps(caps, &host, &picture, &error) ||
      !gst_video_info_dma_drm_from_caps(&drm, caps) || !is_news(self, drm.drm_modifier))
    return;
  GST_ELEMENT_WARNING(self, CORE, NEGOTIATION, ("Cannot encode this: %s.", error->message),
                      ("%" GST_PTR_FORMAT, caps));
}
#endif

/* Whether a field that may be a list, or absent, allows `text`. */
static gboolean allows(const GstStructure *structure, const gchar *field, const gchar *text) {
  const GValue *value = gst_structure_get_value(structure, field);
  if (!value) return TRUE;
  if (G_VALUE_HOLDS_STRING(value)) return g_strcmp0(g_value_get_string(value), text) == 0;
  if (!GST_VALUE_HOLDS_LIST(value)) return FALSE;
  for (guint i = 0; i < gst_value_list_get_size(value); i++) {
    const GValue *item = gst_value_list_get_value(value, i);
    if (G_VALUE_HOLDS_STRING(item) && g_strcmp0(g_value_get_string(item), text) == 0) return TRUE;
  }
  return FALSE;
}

/* The first string of a field that may be a list. */
static const gchar *first_of(const GstStructure *structure, const gchar *field) {
  const GValue *value = gst_structure_get_value(structure, field);
  if (value && GST_VALUE_HOLDS_LIST(value) && gst_value_list_get_size(value) > 0)
    value = gst_value_list_get_value(value, 0);
  return value && G_VALUE_HOLDS_STRING(value) ? g_value_get_string(value) : NULL;
}

static void add_level(GstVsockEncChoice *choice, const GValue *value) {
  const gchar *text = G_VALUE_HOLDS_STRING(value) ? g_value_get_string(value) : NULL;
  if (!text || choice->stream.levels_count == G_N_ELEMENTS(choice->stream.levels)) return;
  guint8 level = choice->stream.codec == vsockenc_Codec_H265
                     ? gst_codec_utils_h265_get_level_idc(text)
                     : gst_codec_utils_h264_get_level_idc(text);
  if (level) choice->stream.levels[choice->stream.levels_count++] = level;
}

static void set_levels(GstVsockEncChoice *choice, const GstStructure *structure) {
  const GValue *value = gst_structure_get_value(structure, "level");
  if (value && !GST_VALUE_HOLDS_LIST(value)) add_level(choice, value);
  for (guint i = 0; value && GST_VALUE_HOLDS_LIST(value) && i < gst_value_list_get_size(value); i++)
    add_level(choice, gst_value_list_get_value(value, i));
}

/* The first profile of the offer that the structure allows, in the host's order. */
static gboolean choose_profile(const vsockenc_EncoderOffer *offer, const GstStructure *structure,
                               vsockenc_Profile *profile) {
  *profile = vsockenc_Profile_PROFILE_UNSPECIFIED;
  if (offer->profiles_count == 0) return TRUE;
  for (guint p = 0; p < offer->profiles_count; p++)
    for (guint i = 0; i < G_N_ELEMENTS(PROFILES); i++)
      if (PROFILES[i].codec == offer->codec && PROFILES[i].profile == offer->profiles[p] &&
          allows(structure, "profile", PROFILES[i].name)) {
        *profile = offer->profiles[p];
        return TRUE;
      }
  return FALSE;
}

/* The first offer that makes a stream of `structure` and of this size. */
static gboolean choose_offer(const vsockenc_Welcome *host, const GstStructure *structure,
                             const GstVideoInfo *info, GstVsockEncChoice *choice) {
  for (guint i = 0; i < host->encoders_count; i++) {
    const vsockenc_EncoderOffer *offer = &host->encoders[i];
    for (guint c = 0; c < G_N_ELEMENTS(CODECS); c++) {
      if (CODECS[c].codec != offer->codec || !gst_structure_has_name(structure, CODECS[c].media) ||
          (guint)info->width > limit_of(offer->max_width) ||
          (guint)info->height > limit_of(offer->max_height) ||
          !choose_profile(offer, structure, &choice->stream.profile))
        continue;
      const gchar *format = first_of(structure, "stream-format");
      choice->stream.codec = offer->codec;
      choice->media = CODECS[c].media;
      choice->packetized = g_strcmp0(format, CODECS[c].packetized) == 0;
      choice->stream_format = choice->packetized ? CODECS[c].packetized : CODECS[c].in_band;
      choice->stream.levels_count = 0;
      set_levels(choice, structure);
      return TRUE;
    }
  }
  return FALSE;
}

static gchar *describe_host(const vsockenc_Welcome *host) {
  GString *text = g_string_new(NULL);
  for (guint i = 0; i < host->encoders_count; i++) {
    const vsockenc_EncoderOffer *offer = &host->encoders[i];
    g_autoptr(GstCaps) caps = offer_caps(offer);
    g_autofree gchar *made = gst_caps_to_string(caps);
    g_string_append_printf(text, "%s%s of at most %ux%u (%s)", i > 0 ? "; " : "", made,
                           limit_of(offer->max_width), limit_of(offer->max_height), offer->name);
  }
  if (host->encoders_count == 0) g_string_append(text, "nothing");
  return g_string_free(text, FALSE);
}

gboolean gst_vsock_enc_choose(GstVsockEnc *self, const GstVideoInfo *info,
                              GstVsockEncChoice *choice, GError **error) {
  vsockenc_Welcome host;
  if (!get_host(self, &host)) return FALSE;
  /* Without a filter, whose order would replace downstream's. */
  g_autoptr(GstCaps) wanted = gst_pad_peer_query_caps(GST_VIDEO_ENCODER_SRC_PAD(self), NULL);
  g_autoptr(GstCaps) offered = host_caps(&host);
  g_autoptr(GstCaps) common = gst_caps_intersect_full(wanted, offered, GST_CAPS_INTERSECT_FIRST);
  for (guint i = 0; i < gst_caps_get_size(common); i++)
    if (choose_offer(&host, gst_caps_get_structure(common, i), info, choice)) return TRUE;
  g_autofree gchar *wants = gst_caps_to_string(wanted);
  g_autofree gchar *has = describe_host(&host);
  g_set_error(error, VENC_ERROR, VENC_ERROR_CONFIGURATION,
              "for %dx%d downstream accepts %s, but the host offers %s", info->width, info->height,
              wants, has);
  return FALSE;
}
