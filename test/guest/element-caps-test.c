/* Negotiation: downstream chooses codec, profile, level and stream format; the host, sizes and
 * memory. */
#include <gst/allocators/allocators.h>
#include <gst/video/video.h>

#include "fake-gpu.h"
#include "fixture.h"
#include "parameter-sets.h"
#include "vectors.h"

/* The element before a sink that takes `downstream`, without caps from upstream. */
static void open_before(Fixture *f, const gchar *downstream) {
  fixture_open(f, NULL, downstream);
  gst_harness_play(f->harness);
}

static void offer(Fixture *f, const vsockenc_EncoderOffer *one) {
  peer_set(f->peer, offers, one);
  peer_set(f->peer, n_offers, 1);
}

/* Has the peer send these bytes as every access unit. */
static void set_unit(Fixture *f, const guint8 *bytes, guint size) {
  peer_set(f->peer, unit_size, size);
  peer_set(f->peer, unit, bytes);
}

/* Sends caps directly to the element's pad, as a harness does not return its answer. */
static gboolean push_caps(Fixture *f, const gchar *text) {
  g_autoptr(GstCaps) caps = gst_caps_from_string(text);
  g_autoptr(GstPad) pad = gst_element_get_static_pad(f->element, "sink");
  GstSegment segment;
  gst_segment_init(&segment, GST_FORMAT_TIME);
  gst_harness_push_event(f->harness, gst_event_new_stream_start("test"));
  if (!gst_pad_send_event(pad, gst_event_new_caps(caps))) return FALSE;
  gst_harness_push_event(f->harness, gst_event_new_segment(&segment));
  return TRUE;
}

/* Encodes one frame before `downstream`; returns the output. */
static GstBuffer *encode_before(Fixture *f, const gchar *downstream) {
  open_before(f, downstream);
  g_assert_true(push_caps(f, CAPS));
  fixture_push(f, 0, 1);
  return gst_harness_pull(f->harness);
}

static GstCaps *pad_caps(Fixture *f, const gchar *name) {
  g_autoptr(GstPad) pad = gst_element_get_static_pad(f->element, name);
  return gst_pad_query_caps(pad, NULL);
}

/* Whether the sink pad offers to take `text`. */
static gboolean can_take(Fixture *f, const gchar *text) {
  g_autoptr(GstCaps) sink = pad_caps(f, "sink");
  g_autoptr(GstCaps) caps = gst_caps_from_string(text);
  return gst_caps_can_intersect(sink, caps);
}

static const vsockenc_EncoderOffer MAIN_ONLY = {.name = "small",
                                                .codec = vsockenc_Codec_H264,
                                                .max_width = 1280,
                                                .max_height = 720,
                                                .profiles_count = 1,
                                                .profiles = {vsockenc_Profile_H264_MAIN}};

static void test_offers(Fixture *f, gconstpointer data) {
  g_autoptr(GstCaps) made = gst_caps_from_string(
      "video/x-h264,alignment=au,stream-format={byte-stream,avc},profile=main");
  offer(f, &MAIN_ONLY);
  fixture_element(f, NULL);
  g_autoptr(GstCaps) before = pad_caps(f, "src");
  g_assert_cmpuint(gst_caps_get_size(before), ==, 2);
  gst_element_set_state(f->element, GST_STATE_READY);
  g_autoptr(GstCaps) src = pad_caps(f, "src");
  g_assert_true(gst_caps_is_subset(src, made) && gst_caps_is_subset(made, src));
  g_assert_true(can_take(f, "video/x-raw,format=BGRx,width=1280,height=720,framerate=30/1"));
  g_assert_false(can_take(f, "video/x-raw,format=BGRx,width=1281,height=720,framerate=30/1"));
}

/* Downstream's limits on the size reach upstream. */
static void test_proxy(Fixture *f, gconstpointer data) {
  open_before(f, "video/x-h264,width=[16,100]");
  g_assert_true(can_take(f, "video/x-raw,width=100"));
  g_assert_false(can_take(f, "video/x-raw,width=101"));
}

typedef struct {
  const gchar *name, *downstream;
  guint codec, profile; /* of Configure */
  const gchar *out_profile, *out_level, *out_format;
  guint levels[4];
} Choice;

#define H264(profile) vsockenc_Codec_H264, vsockenc_Profile_H264_##profile
#define H265(profile) vsockenc_Codec_H265, vsockenc_Profile_H265_##profile

/* One row a line. Of several profiles the host's order counts. */
/* clang-format off */
static const Choice CHOICES[] = {
    {"any", NULL, H264(CONSTRAINED_BASELINE), "constrained-baseline", "1", "byte-stream", {0}},
    {"h265-first", "video/x-h265;video/x-h264", H265(MAIN), "main", "1", "byte-stream", {0}},
    {"h264-first", "video/x-h264;video/x-h265", H264(CONSTRAINED_BASELINE), "constrained-baseline", "1", "byte-stream", {0}},
    {"unknown-first", "video/x-vp8;video/x-h265", H265(MAIN), "main", "1", "byte-stream", {0}},
    {"profiles", "video/x-h264,profile={(string)high,(string)main}", H264(MAIN), "main", "1", "byte-stream", {0}},
    {"high", "video/x-h264,profile=high", H264(HIGH), "high", "1", "byte-stream", {0}},
    {"baseline", "video/x-h264,profile=baseline", H264(CONSTRAINED_BASELINE), "baseline", "1", "byte-stream", {0}},
    {"level", "video/x-h264,profile=high,level=(string)4.1", H264(HIGH), "high", "4.1", "byte-stream", {41}},
    {"levels", "video/x-h264,level={(string)5.1,(string)1b,(string)3.1}", H264(CONSTRAINED_BASELINE), "constrained-baseline", "3.1", "byte-stream", {51, 9, 31}},
    {"h265-levels", "video/x-h265,level={(string)4.1,(string)5}", H265(MAIN), "main", "4.1", "byte-stream", {123, 150}},
    {"avc-first", "video/x-h264,stream-format={(string)avc,(string)byte-stream}", H264(CONSTRAINED_BASELINE), "constrained-baseline", "1", "avc", {0}},
    {"hvc1", "video/x-h265,stream-format=hvc1", H265(MAIN), "main", "1", "hvc1", {0}},
};
/* clang-format on */

static void test_choice(Fixture *f, gconstpointer data) {
  const Choice *choice = data;
  guint n = 0;
  g_autoptr(GstBuffer) buffer = encode_before(f, choice->downstream);
  g_assert_nonnull(buffer);
  PeerCounts counts = peer_counts(f->peer);
  g_assert_cmpuint(counts.configure.codec, ==, choice->codec);
  g_assert_cmpuint(counts.configure.profile, ==, choice->profile);
  while (n < G_N_ELEMENTS(choice->levels) && choice->levels[n]) n++;
  g_assert_cmpuint(counts.configure.levels_count, ==, n);
  for (guint i = 0; i < n; i++) g_assert_cmpuint(counts.configure.levels[i], ==, choice->levels[i]);
  const GstStructure *output = fixture_output(f);
  g_assert_cmpstr(gst_structure_get_string(output, "profile"), ==, choice->out_profile);
  g_assert_cmpstr(gst_structure_get_string(output, "level"), ==, choice->out_level);
  g_assert_cmpstr(gst_structure_get_string(output, "stream-format"), ==, choice->out_format);
  gboolean h265 = choice->codec == vsockenc_Codec_H265;
  g_assert_cmpstr(gst_structure_get_string(output, "tier"), ==, h265 ? "main" : NULL);
}

/* A host that does not list profiles. */
static const vsockenc_EncoderOffer MUTE = {.name = "mute", .codec = vsockenc_Codec_H264};

static const guint8 GARBAGE[] = {0, 0, 0, 1, 0xff, 1, 2, 3};

typedef struct {
  const gchar *name;
  const vsockenc_EncoderOffer *offer; /* of the host; NULL: everything */
  const guint8 *unit;                 /* the host's access unit; NULL: a valid one */
  const gchar *downstream, *caps;
  gboolean at_frame;           /* the first frame is rejected, and not the caps */
  const gchar *first, *second; /* in the error's text */
} Refusal;

/* clang-format off */
static const Refusal REFUSALS[] = {
    {"nothing-in-common", &MAIN_ONLY, NULL, "video/x-h264,profile=high", CAPS, FALSE, "profile=(string)high", "profile=(string)main"},
    {"refused-level", NULL, NULL, "video/x-h264,level=(string)1b", CAPS, FALSE, "the peer has no such level", "64x48"},
    {"interlaced", NULL, NULL, NULL, CAPS ",interlace-mode=interleaved", FALSE, "interlaced", "deinterlace"},
    {"unfit-stream", &MUTE, NULL, "video/x-h264,profile=high", CAPS, TRUE, "constrained-baseline", "high"},
    {"malformed-unit/avc", NULL, GARBAGE, "video/x-h264,stream-format=avc", CAPS, TRUE, "Unusable access unit", "forbidden_zero_bit"},
    {"malformed-unit/byte-stream", NULL, GARBAGE, "video/x-h264,stream-format=byte-stream", CAPS, TRUE, "Unusable access unit", "forbidden_zero_bit"},
};
/* clang-format on */

static void test_refusal(Fixture *f, gconstpointer data) {
  const Refusal *refusal = data;
  if (refusal->offer) offer(f, refusal->offer);
  if (refusal->unit) set_unit(f, refusal->unit, sizeof GARBAGE);
  open_before(f, refusal->downstream);
  g_assert_cmpint(push_caps(f, refusal->caps), ==, refusal->at_frame);
  if (refusal->at_frame) gst_harness_push(f->harness, fixture_frame(0));
  fixture_expect(f, GST_MESSAGE_ERROR, refusal->first, refusal->second);
}

/* The output caps have the record of these parameter sets. */
static void assert_record_of(Fixture *f, const Vector *vector) {
  const GValue *value = gst_structure_get_value(fixture_output(f), "codec_data");
  g_auto(VencParameterSets) sets = {0};
  g_autoptr(GError) error = NULL;
  gsize size;
  g_assert_nonnull(value);
  venc_parameter_sets_find(vector->codec, vector->unit, vector->sets_size, &sets, &error);
  g_assert_no_error(error);
  gconstpointer record = g_bytes_get_data(sets.record, &size);
  g_assert_cmpuint(gst_buffer_get_size(gst_value_get_buffer(value)), ==, size);
  g_assert_cmpint(gst_buffer_memcmp(gst_value_get_buffer(value), 0, record, size), ==, 0);
}

/* Length-prefixed NAL units, none of them a parameter set. */
static void assert_sample(GstBuffer *buffer, vsockenc_Codec codec) {
  GstMapInfo map;
  gsize at = 0;
  gst_buffer_map(buffer, &map, GST_MAP_READ);
  while (at < map.size) {
    g_assert_cmpuint(at + 5, <=, map.size);
    guint type =
        codec == vsockenc_Codec_H265 ? map.data[at + 4] >> 1 & 0x3f : map.data[at + 4] & 0x1f;
    g_assert_true(codec == vsockenc_Codec_H265 ? type < 32 : type == 1 || type == 5);
    at += 4 + GST_READ_UINT32_BE(map.data + at);
  }
  g_assert_cmpuint(at, ==, map.size);
  gst_buffer_unmap(buffer, &map);
}

/* A new size has new parameter sets: their record precedes the picture. */
static void test_packetized(Fixture *f, gconstpointer data) {
  vsockenc_Codec codec = GPOINTER_TO_UINT(data);
  gboolean h265 = codec == vsockenc_Codec_H265;
  g_autoptr(GstBuffer) key =
      encode_before(f, h265 ? "video/x-h265,stream-format=hvc1" : "video/x-h264,stream-format=avc");
  assert_sample(key, codec);
  assert_record_of(f, vector_find(codec, vsockenc_Profile_PROFILE_UNSPECIFIED, 64));
  fixture_push(f, 1, 1);
  g_autoptr(GstBuffer) delta = gst_harness_pull(f->harness);
  assert_sample(delta, codec);

  g_assert_true(push_caps(f, "video/x-raw,format=RGBA,width=66,height=34,framerate=30/1"));
  fixture_push_buffer(f, fixture_noise(66 * 34 * 4, 30));
  g_autoptr(GstBuffer) small = gst_harness_pull(f->harness);
  assert_sample(small, codec);
  assert_record_of(f, vector_find(codec, vsockenc_Profile_PROFILE_UNSPECIFIED, 66));
}

/* A new session may use another encoder, with other parameter sets. */
static void test_packetized_new_session(Fixture *f, gconstpointer data) {
  const Vector *high = vector_find(vsockenc_Codec_H264, vsockenc_Profile_H264_HIGH, 64);
  g_autoptr(GstBuffer) first = encode_before(f, "video/x-h264,stream-format=avc");
  assert_record_of(f, vector_find(vsockenc_Codec_H264, vsockenc_Profile_PROFILE_UNSPECIFIED, 64));
  set_unit(f, high->unit, high->size);
  peer_hang_up(f->peer);
  fixture_encode(f, 1, 1);
  assert_record_of(f, high);
  g_assert_cmpuint(fixture_stat(f, "sessions"), ==, 2);
}

/* Changes of the VUI alone also reconfigure the host. */
static void test_aspect_and_colour(Fixture *f, gconstpointer data) {
#define I420 "video/x-raw,format=I420,width=64,height=48,framerate=0/1,colorimetry="
  gint par_n = 0, par_d = 0;
  g_autoptr(GstBuffer) first = encode_before(f, NULL);
  g_assert_true(push_caps(f, CAPS ",pixel-aspect-ratio=4/3"));
  fixture_encode(f, 1, 1);
  g_assert_cmpuint(peer_counts(f->peer).configure.par_numerator, ==, 4);
  g_assert_cmpuint(peer_counts(f->peer).configure.par_denominator, ==, 3);
  gst_structure_get_fraction(fixture_output(f), "pixel-aspect-ratio", &par_n, &par_d);
  g_assert_cmpint(par_n * 3, ==, par_d * 4);
  g_assert_true(push_caps(f, I420 "bt709"));
  g_assert_cmpuint(peer_counts(f->peer).configure.colorimetry.matrix, ==, 1);
  g_assert_cmpuint(peer_counts(f->peer).configure.framerate_numerator, ==, 0);
  g_assert_true(push_caps(f, I420 "bt601"));
  g_assert_cmpuint(peer_counts(f->peer).configure.colorimetry.matrix, ==, 6);
  g_assert_cmpuint(peer_counts(f->peer).configures, ==, 4);
}

#if GST_CHECK_VERSION(1, 24, 0)
#define DRM_CAPS(format)                           \
  "video/x-raw(memory:DMABuf),width=64,height=48," \
  "framerate=30/1,format=DMA_DRM,drm-format=" format
#define X_TILED G_GUINT64_CONSTANT(0x0100000000000001)
#define X_TILED_NAME "XR24:0x0100000000000001"

/* Encodes a DmaBuf, which the host is to read with this modifier. */
static void encode_drm(Fixture *f, guint number, guint64 modifier) {
  fixture_push_buffer(f, fixture_dmabuf(number, fake_gpu_new_dmabuf(65536), 65536));
  fixture_pull(f, number, 1);
  g_assert_cmphex(peer_counts(f->peer).attach.modifier_high, ==, modifier >> 32);
  g_assert_cmphex(peer_counts(f->peer).attach.modifier_low, ==, modifier & G_MAXUINT32);
}

static void test_linear(Fixture *f, gconstpointer data) {
  open_before(f, NULL);
  g_autoptr(GstCaps) sink = pad_caps(f, "sink");
  g_assert_true(
      gst_video_is_dma_drm_caps(sink) ||
      strstr(gst_structure_get_string(gst_caps_get_structure(sink, 0), "format"), "DMA_DRM"));
  g_assert_true(push_caps(f, DRM_CAPS("XR24")));
  encode_drm(f, 0, 0);
  /* The base class misses this change. */
  g_assert_true(push_caps(f, DRM_CAPS("AB24")));
  encode_drm(f, 1, 0);
  g_assert_cmphex(peer_counts(f->peer).attach.fourcc, ==, 0x34324241);
  g_assert_cmpuint(fixture_stat(f, "frames-copied"), ==, 0);
}

static void test_refused_modifier(Fixture *f, gconstpointer data) {
  open_before(f, NULL);
  for (guint i = 0; i < 3; i++) g_assert_false(push_caps(f, DRM_CAPS(X_TILED_NAME)));
  g_assert_cmpuint(fixture_count_warnings(f, "0x0100000000000001"), ==, 1);
  g_assert_true(push_caps(f, DRM_CAPS("XR24")));
}

static void test_host_modifier(Fixture *f, gconstpointer data) {
  peer_set(f->peer, modifier, X_TILED);
  open_before(f, NULL);
  g_assert_true(can_take(f, DRM_CAPS(X_TILED_NAME)));
  g_assert_true(push_caps(f, DRM_CAPS(X_TILED_NAME)));
  encode_drm(f, 0, X_TILED);
  /* Tiled pixels can neither be copied nor sent over the link. */
  g_assert_cmpint(gst_harness_push(f->harness, fixture_frame(1)), ==, GST_FLOW_ERROR);
  fixture_expect(f, GST_MESSAGE_ERROR, "0x0100000000000001", "linear");
}
#endif

static void add(void) {
  TEST("/caps/offers", test_offers);
  TEST("/caps/proxy", test_proxy);
  for (guint i = 0; i < G_N_ELEMENTS(CHOICES); i++) {
    g_autofree gchar *name = g_strconcat("/caps/choice/", CHOICES[i].name, NULL);
    TEST_WITH(name, test_choice, &CHOICES[i]);
  }
  TEST_WITH("/caps/packetized/avc", test_packetized, GUINT_TO_POINTER(vsockenc_Codec_H264));
  TEST_WITH("/caps/packetized/hvc1", test_packetized, GUINT_TO_POINTER(vsockenc_Codec_H265));
  TEST("/caps/packetized/new-session", test_packetized_new_session);
  for (guint i = 0; i < G_N_ELEMENTS(REFUSALS); i++) {
    g_autofree gchar *name = g_strconcat("/caps/", REFUSALS[i].name, NULL);
    TEST_WITH(name, test_refusal, &REFUSALS[i]);
  }
  TEST("/caps/aspect-and-colour", test_aspect_and_colour);
#if GST_CHECK_VERSION(1, 24, 0)
  TEST("/caps/drm/linear", test_linear);
  TEST("/caps/drm/refused-modifier", test_refused_modifier);
  TEST("/caps/drm/host-modifier", test_host_modifier);
#endif
}

TEST_MAIN(add)
