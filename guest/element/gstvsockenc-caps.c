/*
 * Caps negotiation: upstream gets the sizes and memory that the host accepts, downstream the codecs
 * and profiles that the host offers. Downstream chooses among these by its caps.
 *
 * Before the element is open only the pads' templates are known.
 */
#include <gst/pbutils/pbutils.h>

#include "gstvsockenc-private.h"

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

static gboolean get_host(GstVsockEnc *self, VencHost *host) {
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

static GstCaps *host_caps(const VencHost *host) {
  GstCaps *caps = gst_caps_new_empty();
  for (guint i = 0; i < host->n_encoders; i++)
    caps = gst_caps_merge(caps, offer_caps(&host->encoders[i]));
  return caps;
}

GstCaps *gst_vsock_enc_src_caps(void) {
  VencHost everything = {0};
  for (guint i = 0; i < G_N_ELEMENTS(CODECS); i++)
    everything.encoders[everything.n_encoders++].codec = CODECS[i].codec;
  return host_caps(&everything);
}

GstCaps *gst_vsock_enc_getcaps(GstVideoEncoder *encoder, GstCaps *filter) {
  VencHost host;
  guint width = 0, height = 0, any_width = 0, any_height = 0;

  if (!get_host(GST_VSOCK_ENC(encoder), &host))
    return gst_video_encoder_proxy_getcaps(encoder, NULL, filter);
  g_autoptr(GstCaps) wanted = gst_pad_peer_query_caps(GST_VIDEO_ENCODER_SRC_PAD(encoder), NULL);
  for (guint i = 0; i < host.n_encoders; i++) {
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
  gst_vsock_enc_limit_caps(caps, &host, MAX(width, VSOCKENC_MIN_DIMENSION),
                           MAX(height, VSOCKENC_MIN_DIMENSION));
  return gst_video_encoder_proxy_getcaps(encoder, caps, filter);
}

gboolean gst_vsock_enc_answer_src_caps(GstVsockEnc *self, GstQuery *query) {
  VencHost host;
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
  VencHost host;
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
  if (!text || choice->n_levels == G_N_ELEMENTS(choice->levels)) return;
  guint8 level = choice->codec == vsockenc_Codec_H265 ? gst_codec_utils_h265_get_level_idc(text)
                                                      : gst_codec_utils_h264_get_level_idc(text);
  if (level) choice->levels[choice->n_levels++] = level;
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
static gboolean choose_offer(const VencHost *host, const GstStructure *structure,
                             const GstVideoInfo *info, GstVsockEncChoice *choice) {
  for (guint i = 0; i < host->n_encoders; i++) {
    const vsockenc_EncoderOffer *offer = &host->encoders[i];
    for (guint c = 0; c < G_N_ELEMENTS(CODECS); c++) {
      if (CODECS[c].codec != offer->codec || !gst_structure_has_name(structure, CODECS[c].media) ||
          (guint)info->width > limit_of(offer->max_width) ||
          (guint)info->height > limit_of(offer->max_height) ||
          !choose_profile(offer, structure, &choice->profile))
        continue;
      const gchar *format = first_of(structure, "stream-format");
      choice->codec = offer->codec;
      choice->media = CODECS[c].media;
      choice->packetized = g_strcmp0(format, CODECS[c].packetized) == 0;
      choice->stream_format = choice->packetized ? CODECS[c].packetized : CODECS[c].in_band;
      choice->n_levels = 0;
      set_levels(choice, structure);
      return TRUE;
    }
  }
  return FALSE;
}

static gchar *describe_host(const VencHost *host) {
  GString *text = g_string_new(NULL);
  for (guint i = 0; i < host->n_encoders; i++) {
    const vsockenc_EncoderOffer *offer = &host->encoders[i];
    g_autoptr(GstCaps) caps = offer_caps(offer);
    g_autofree gchar *made = gst_caps_to_string(caps);
    g_string_append_printf(text, "%s%s of at most %ux%u (%s)", i > 0 ? "; " : "", made,
                           limit_of(offer->max_width), limit_of(offer->max_height), offer->name);
  }
  if (host->n_encoders == 0) g_string_append(text, "nothing");
  return g_string_free(text, FALSE);
}

gboolean gst_vsock_enc_choose(GstVsockEnc *self, const GstVideoInfo *info,
                              GstVsockEncChoice *choice, GError **error) {
  VencHost host;
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
