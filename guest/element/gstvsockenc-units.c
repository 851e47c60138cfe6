/*
 * Access units for downstream: their caps and tags, and their bytes in the negotiated format. All
 * with the stream lock held.
 */
#include <gst/pbutils/pbutils.h>
#include <stdio.h>

#include "gstvsockenc-private.h"

/* The base class completes the caps from this state before it pushes next. */
static void set_output_state(GstVsockEnc *self, GstCaps *caps, GBytes *record) {
  const GstVideoInfo *info = &self->picture.info;
  vsockenc_Configured configured;

  venc_session_get_configured(self->session, &configured);
  GstVideoCodecState *state =
      gst_video_encoder_set_output_state(GST_VIDEO_ENCODER(self), caps, self->input);
  state->info.width = (gint)(configured.width ? configured.width : (info->width + 1u) & ~1u);
  state->info.height = (gint)(configured.height ? configured.height : (info->height + 1u) & ~1u);
  gst_vsock_enc_colorimetry_from_wire(&configured.colorimetry, &state->info.colorimetry);
  if (record) state->codec_data = gst_buffer_new_wrapped_bytes(record);
  gst_video_codec_state_unref(state);
  self->has_caps = TRUE;
}

static GstCaps *base_caps(const GstVsockEncChoice *choice) {
  return gst_caps_new_simple(choice->media, "stream-format", G_TYPE_STRING, choice->stream_format,
                             "alignment", G_TYPE_STRING, "au", NULL);
}

void gst_vsock_enc_set_bare_caps(GstVsockEnc *self) {
  set_output_state(self, base_caps(&self->choice), NULL);
}

static void set_profile(vsockenc_Codec codec, GstCaps *caps, const VencParameterSets *sets) {
  if (codec == vsockenc_Codec_H265)
    gst_codec_utils_h265_caps_set_level_tier_and_profile(caps, sets->profile, sets->profile_size);
  else
    gst_codec_utils_h264_caps_set_level_and_profile(caps, sets->profile, sets->profile_size);
}

/* Whether downstream accepts the stream's caps; if not, posts an error that names both. */
static gboolean fit_downstream(GstVsockEnc *self, GstCaps *caps) {
  GstStructure *structure = gst_caps_get_structure(caps, 0);
  g_autoptr(GstCaps) wanted = gst_pad_peer_query_caps(GST_VIDEO_ENCODER_SRC_PAD(self), NULL);
  if (gst_caps_can_intersect(caps, wanted)) return TRUE;
  if (g_strcmp0(gst_structure_get_string(structure, "profile"), "constrained-baseline") == 0) {
    g_autoptr(GstCaps) baseline = gst_caps_copy(caps);
    gst_caps_set_simple(baseline, "profile", G_TYPE_STRING, "baseline", NULL);
    if (gst_caps_can_intersect(baseline, wanted)) {
      gst_caps_set_simple(caps, "profile", G_TYPE_STRING, "baseline", NULL);
      return TRUE;
    }
  }
  g_autofree gchar *wants = gst_caps_to_string(wanted);
  g_autofree gchar *has = gst_caps_to_string(caps);
  GST_ELEMENT_ERROR(self, CORE, NEGOTIATION,
                    ("The host's encoder makes %s, but downstream accepts %s.", has, wants),
                    (NULL));
  return FALSE;
}

/* Negotiates caps from the parameter sets; without them, caps without profile and level. */
static gboolean negotiate(GstVsockEnc *self) {
  const GstVsockEncChoice *choice = &self->choice;
  g_autoptr(GstCaps) caps = base_caps(choice);

  if (self->sets.record)
    set_profile(choice->codec, caps, &self->sets);
  else
    GST_WARNING_OBJECT(self, "the first access unit has no SPS: caps without profile and level");
  if (!fit_downstream(self, caps)) return FALSE;
  set_output_state(self, gst_caps_ref(caps), choice->packetized ? self->sets.record : NULL);
  self->negotiate = FALSE;
  if (gst_video_encoder_negotiate(GST_VIDEO_ENCODER(self))) return TRUE;
  g_autofree gchar *has = gst_caps_to_string(caps);
  GST_ELEMENT_ERROR(self, CORE, NEGOTIATION, ("Downstream rejected %s.", has), (NULL));
  return FALSE;
}

/* GST_TAG_ENCODER_VERSION is a number: three digits for each part of the version. */
static guint version_number(void) {
  guint major = 0, minor = 0, patch = 0;
  if (sscanf(PACKAGE_VERSION, "%u.%u.%u", &major, &minor, &patch) < 2) return 0;
  return (major * 1000 + minor) * 1000 + patch;
}

/* The encoder may change when the host was lost, and the bit rate at any time. */
static void update_tags(GstVsockEnc *self) {
  vsockenc_Configured configured;

  venc_session_get_configured(self->session, &configured);
  if (!configured.serial || (configured.bitrate_kbps == self->tagged_bitrate &&
                             g_strcmp0(configured.encoder, self->tagged_encoder) == 0))
    return;
  g_free(self->tagged_encoder);
  self->tagged_encoder = g_strdup(configured.encoder);
  self->tagged_bitrate = configured.bitrate_kbps;
  g_autofree gchar *encoder =
      g_strdup_printf("%s, by " VSOCKENC_FACTORY " " PACKAGE_VERSION, configured.encoder);
  g_autoptr(GstTagList) tags =
      gst_tag_list_new(GST_TAG_ENCODER, encoder, GST_TAG_ENCODER_VERSION, version_number(), NULL);
  g_autoptr(GstCaps) caps = base_caps(&self->choice);
  gst_pb_utils_add_codec_description_to_tag_list(tags, GST_TAG_VIDEO_CODEC, caps);
  if (configured.bitrate_kbps > 0 && configured.bitrate_kbps <= VSOCKENC_MAX_BITRATE_KBPS)
    gst_tag_list_add(tags, GST_TAG_MERGE_REPLACE, GST_TAG_NOMINAL_BITRATE,
                     configured.bitrate_kbps * 1000u, NULL);
  gst_video_encoder_merge_tags(GST_VIDEO_ENCODER(self), tags, GST_TAG_MERGE_REPLACE);
}

static GstBuffer *refuse_unit(GstVsockEnc *self, const gchar *text, GstFlowReturn *flow) {
  GST_ELEMENT_ERROR(self, STREAM, ENCODE, ("Unusable access unit: %s.", text), (NULL));
  *flow = GST_FLOW_ERROR;
  return NULL;
}

GstBuffer *gst_vsock_enc_take_unit(GstVsockEnc *self, VencOutput *output, GstFlowReturn *flow) {
  const GstVsockEncChoice *choice = &self->choice;
  g_auto(VencParameterSets) sets = {0};
  g_autoptr(GError) error = NULL;

  /* A byte stream keeps its parameter sets, so only those of key frames matter, for the caps. */
  if (output->key || choice->packetized) {
    venc_parameter_sets_find(choice->codec, output->bytes, output->size, &sets, &error);
    if (error) return refuse_unit(self, error->message, flow);
  }
  if (sets.record && (!self->sets.record || !g_bytes_equal(sets.record, self->sets.record))) {
    venc_parameter_sets_clear(&self->sets);
    self->sets = sets;
    sets.record = NULL;
    self->negotiate = TRUE;
  }
  if (choice->packetized && !self->sets.record)
    return refuse_unit(self, "the first one has no parameter sets", flow);
  if (self->negotiate && !negotiate(self)) {
    *flow = GST_FLOW_NOT_NEGOTIATED;
    return NULL;
  }
  update_tags(self);
  if (!choice->packetized)
    return gst_buffer_new_wrapped(g_steal_pointer(&output->bytes), output->size);
  gsize size = 0;
  guint8 *sample = venc_unit_to_sample(choice->codec, output->bytes, output->size, &size, &error);
  return sample ? gst_buffer_new_wrapped(sample, size) : refuse_unit(self, error->message, flow);
}
