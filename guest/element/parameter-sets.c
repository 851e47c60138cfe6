#include "parameter-sets.h"

#include <gst/base/gstbitreader.h>
#include <string.h>

#include "link.h"

/* nal_unit_type: H.264 table 7-1, H.265 table 7-1. */
enum { H264_SLICE = 1, H264_IDR = 5, H264_SPS = 7, H264_PPS = 8, H264_SPS_EXTENSION = 13 };
enum { H265_LAST_SLICE = 31, H265_VPS = 32, H265_SPS = 33, H265_PPS = 34 };

/* Widths of the counts in the records: numOfSequenceParameterSets has five bits. */
#define MAX_SPS 31u
#define MAX_SETS 255u
/* The fields that are read are in the first bytes of an SPS. */
#define SPS_BYTES_READ 256u
#define LENGTH_BYTES 4u

typedef struct {
  const guint8 *bytes; /* from the header on, without start code and trailing zeros */
  gsize size;
  guint type;
} Nal;

static gboolean malformed(GError **error, const gchar *what) {
  g_set_error(error, VENC_ERROR, VENC_ERROR_REFUSED, "the host's access unit is malformed: %s",
              what);
  return FALSE;
}

static gboolean is_h265(vsockenc_Codec codec) {
  return codec == vsockenc_Codec_H265;
}

static gsize header_bytes(vsockenc_Codec codec) {
  return is_h265(codec) ? 2 : 1;
}

static gboolean is_picture(vsockenc_Codec codec, guint type) {
  return is_h265(codec) ? type <= H265_LAST_SLICE : type >= H264_SLICE && type <= H264_IDR;
}

/* NAL units that a record holds, in arrays in the order of the types. */
static gboolean is_parameter_set(vsockenc_Codec codec, guint type) {
  return is_h265(codec) ? type >= H265_VPS && type <= H265_PPS
                        : type == H264_SPS || type == H264_PPS || type == H264_SPS_EXTENSION;
}

/* Offset of the next 00 00 01 from `at` on, or `size`. */
static gsize find_start_code(const guint8 *unit, gsize size, gsize at) {
  while (at + 3 <= size) {
    const guint8 *one = memchr(unit + at + 2, 1, size - at - 2);
    if (!one) break;
    at = (gsize)(one - unit) - 2;
    if (unit[at] == 0 && unit[at + 1] == 0) return at;
    at++;
  }
  return size;
}

/*
 * The next NAL unit of `unit` from `*at` on, which is 0 for the first. FALSE at the end, or with
 * `error` where there should have been one.
 */
static gboolean next_nal(vsockenc_Codec codec, const guint8 *unit, gsize size, gsize *at, Nal *nal,
                         GError **error) {
  gsize begin = *at;
  while (begin < size && unit[begin] == 0) begin++;
  if (begin == size && *at > 0) return FALSE;
  if (begin == size || unit[begin] != 1 || begin - *at < 2)
    return malformed(error, "no start code where a NAL unit should begin");
  begin++;
  gsize end = *at = find_start_code(unit, size, begin);
  /* trailing_zero_8bits, and the zero_byte of the next start code. */
  while (end > begin && unit[end - 1] == 0) end--;
  if (end - begin <= header_bytes(codec)) return malformed(error, "an empty NAL unit");
  if (unit[begin] & 0x80) return malformed(error, "forbidden_zero_bit is set");
  nal->bytes = unit + begin;
  nal->size = end - begin;
  nal->type = is_h265(codec) ? unit[begin] >> 1 & 0x3f : unit[begin] & 0x1f;
  return TRUE;
}

/* Copies at most `capacity` bytes of the RBSP: the NAL unit without header and emulation bytes. */
static guint copy_rbsp(vsockenc_Codec codec, const Nal *nal, guint8 *rbsp, guint capacity) {
  guint n = 0, zeros = 0;
  for (gsize i = header_bytes(codec); i < nal->size && n < capacity; i++) {
    guint8 byte = nal->bytes[i];
    if (zeros >= 2 && byte == 3) {
      zeros = 0;
      continue;
    }
    zeros = byte == 0 ? zeros + 1 : 0;
    rbsp[n++] = byte;
  }
  return n;
}

/* ue(v) of 9.1, below 2^16: no field that is read here is larger. */
static gboolean read_ue(GstBitReader *bits, guint *value) {
  guint zeros = 0;
  guint8 bit = 0;
  guint32 rest = 0;
  while (gst_bit_reader_get_bits_uint8(bits, &bit, 1) && !bit)
    if (++zeros > 16) return FALSE;
  if (!bit || (zeros && !gst_bit_reader_get_bits_uint32(bits, &rest, zeros))) return FALSE;
  *value = (1u << zeros) - 1 + rest;
  return TRUE;
}

static gboolean skip_ue(GstBitReader *bits, guint n) {
  guint ignored;
  while (n-- > 0)
    if (!read_ue(bits, &ignored)) return FALSE;
  return TRUE;
}

/* chroma_format_idc and the bit depths, as the records have them. */
typedef struct {
  guint chroma, luma_depth, chroma_depth; /* depths less 8 */
} Samples;

static gboolean read_chroma(GstBitReader *bits, Samples *samples) {
  return read_ue(bits, &samples->chroma) && samples->chroma <= 3 &&
         (samples->chroma != 3 || gst_bit_reader_skip(bits, 1));
}

static gboolean read_depths(GstBitReader *bits, Samples *samples) {
  return read_ue(bits, &samples->luma_depth) && samples->luma_depth <= 7 &&
         read_ue(bits, &samples->chroma_depth) && samples->chroma_depth <= 7;
}

/* H.264 7.3.2.1.1, from seq_parameter_set_id to bit_depth_chroma_minus8 of the high profiles. */
static gboolean read_h264_samples(const guint8 *rbsp, guint size, Samples *samples) {
  GstBitReader bits;
  gst_bit_reader_init(&bits, rbsp, size);
  return gst_bit_reader_skip(&bits, 24) && skip_ue(&bits, 1) && read_chroma(&bits, samples) &&
         read_depths(&bits, samples);
}

/* H.265 7.3.3: the temporal sub-layers, after general_level_idc. */
static gboolean skip_sub_layers(GstBitReader *bits, guint n) {
  guint16 present = 0;
  guint skip = 0;
  if (n == 0) return TRUE;
  /* Two flags for each of eight, those beyond n reserved. */
  if (!gst_bit_reader_get_bits_uint16(bits, &present, 16)) return FALSE;
  for (guint i = 0; i < n; i++) {
    if (present >> (15 - 2 * i) & 1) skip += 88; /* sub_layer_profile_present_flag */
    if (present >> (14 - 2 * i) & 1) skip += 8;  /* sub_layer_level_present_flag */
  }
  return gst_bit_reader_skip(bits, skip);
}

/* H.265 7.3.2.2.1, from profile_tier_level() to bit_depth_chroma_minus8. */
static gboolean read_h265_samples(const guint8 *rbsp, guint size, guint sub_layers,
                                  Samples *samples) {
  GstBitReader bits;
  guint8 window = 0;
  gst_bit_reader_init(&bits, rbsp, size);
  /* seq_parameter_set_id, chroma, width, height, the four edges of the conformance window. */
  return gst_bit_reader_skip(&bits, 8 * (1 + VENC_PROFILE_BYTES)) &&
         skip_sub_layers(&bits, sub_layers) && skip_ue(&bits, 1) && read_chroma(&bits, samples) &&
         skip_ue(&bits, 2) && gst_bit_reader_get_bits_uint8(&bits, &window, 1) &&
         skip_ue(&bits, window ? 4 : 0) && read_depths(&bits, samples);
}

static void append_byte(GByteArray *record, guint byte) {
  const guint8 value = (guint8)byte;
  g_byte_array_append(record, &value, 1);
}

static void append_u16(GByteArray *record, gsize value) {
  append_byte(record, (guint)(value >> 8 & 0xff));
  append_byte(record, (guint)(value & 0xff));
}

static void append_sets(GByteArray *record, GArray *sets) {
  for (guint i = 0; i < sets->len; i++) {
    const Nal *nal = &g_array_index(sets, Nal, i);
    append_u16(record, nal->size);
    g_byte_array_append(record, nal->bytes, (guint)nal->size);
  }
}

/* The parameter sets of a unit by type; the NAL units point into the unit. */
typedef struct {
  GArray *places[3]; /* H.264: SPS, PPS, SPS extension; H.265: VPS, SPS, PPS */
  gboolean any;
} Found;

static void found_init(Found *found) {
  *found = (Found){0};
  for (guint i = 0; i < G_N_ELEMENTS(found->places); i++)
    found->places[i] = g_array_new(FALSE, FALSE, sizeof(Nal));
}

static void found_clear(Found *found) {
  for (guint i = 0; i < G_N_ELEMENTS(found->places); i++) g_array_unref(found->places[i]);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Found, found_clear)

static gboolean found_add(Found *found, vsockenc_Codec codec, const Nal *nal, GError **error) {
  guint place = is_h265(codec)          ? nal->type - H265_VPS
                : nal->type == H264_SPS ? 0
                : nal->type == H264_PPS ? 1
                                        : 2;
  GArray *sets = found->places[place];
  guint limit = !is_h265(codec) && place == 0 ? MAX_SPS : MAX_SETS;
  found->any = TRUE;
  /* Some encoders repeat them within one unit. */
  for (guint i = 0; i < sets->len; i++) {
    const Nal *known = &g_array_index(sets, Nal, i);
    if (known->size == nal->size && memcmp(known->bytes, nal->bytes, nal->size) == 0) return TRUE;
  }
  if (sets->len >= limit) return malformed(error, "more parameter sets than a record can hold");
  if (nal->size > G_MAXUINT16) return malformed(error, "a parameter set of more than 65535 bytes");
  g_array_append_val(sets, *nal);
  return TRUE;
}

static gboolean find(vsockenc_Codec codec, const guint8 *unit, gsize size, Found *found,
                     GError **error) {
  Nal nal;
  gsize at = 0;
  g_autoptr(GError) failure = NULL;
  while (next_nal(codec, unit, size, &at, &nal, &failure)) {
    if (is_picture(codec, nal.type)) return TRUE;
    if (is_parameter_set(codec, nal.type) && !found_add(found, codec, &nal, error)) return FALSE;
  }
  if (!failure) return TRUE;
  g_propagate_error(error, g_steal_pointer(&failure));
  return FALSE;
}

/* AVCDecoderConfigurationRecord. */
static gboolean make_avcc(const Found *found, GByteArray *record, VencParameterSets *sets,
                          GError **error) {
  GArray *sps = found->places[0], *pps = found->places[1], *extensions = found->places[2];
  guint8 rbsp[SPS_BYTES_READ];
  Samples samples = {.chroma = 1};
  if (sps->len == 0 || pps->len == 0) return malformed(error, "an SPS or a PPS is missing");
  guint size = copy_rbsp(vsockenc_Codec_H264, &g_array_index(sps, Nal, 0), rbsp, SPS_BYTES_READ);
  if (size < 4) return malformed(error, "an SPS of less than four bytes");
  sets->profile_size = 3;
  memcpy(sets->profile, rbsp, 3);
  append_byte(record, 1); /* configurationVersion */
  g_byte_array_append(record, rbsp, 3);
  append_byte(record, 0xfc | (LENGTH_BYTES - 1));
  append_byte(record, 0xe0 | sps->len);
  append_sets(record, sps);
  append_byte(record, pps->len);
  append_sets(record, pps);
  /* For these profiles the record also has chroma_format_idc and bit depths of the SPS. */
  if (rbsp[0] != 100 && rbsp[0] != 110 && rbsp[0] != 122 && rbsp[0] != 144) return TRUE;
  if (!read_h264_samples(rbsp, size, &samples)) return malformed(error, "an SPS that breaks off");
  append_byte(record, 0xfc | samples.chroma);
  append_byte(record, 0xf8 | samples.luma_depth);
  append_byte(record, 0xf8 | samples.chroma_depth);
  append_byte(record, extensions->len);
  append_sets(record, extensions);
  return TRUE;
}

/* HEVCDecoderConfigurationRecord. */
static gboolean make_hvcc(const Found *found, GByteArray *record, VencParameterSets *sets,
                          GError **error) {
  GArray *all_sps = found->places[1];
  guint8 rbsp[SPS_BYTES_READ];
  Samples samples;
  for (guint i = 0; i < G_N_ELEMENTS(found->places); i++)
    if (found->places[i]->len == 0) return malformed(error, "a VPS, SPS or PPS is missing");
  guint size =
      copy_rbsp(vsockenc_Codec_H265, &g_array_index(all_sps, Nal, 0), rbsp, SPS_BYTES_READ);
  guint sub_layers = size > 0 ? rbsp[0] >> 1 & 7 : 0; /* sps_max_sub_layers_minus1 */
  guint nested = size > 0 ? rbsp[0] & 1 : 0;          /* sps_temporal_id_nesting_flag */
  if (!read_h265_samples(rbsp, size, sub_layers, &samples))
    return malformed(error, "an SPS that breaks off");
  sets->profile_size = VENC_PROFILE_BYTES;
  memcpy(sets->profile, rbsp + 1, VENC_PROFILE_BYTES);
  append_byte(record, 1); /* configurationVersion */
  g_byte_array_append(record, sets->profile, VENC_PROFILE_BYTES);
  append_u16(record, 0xf000); /* min_spatial_segmentation_idc: unknown */
  append_byte(record, 0xfc);  /* parallelismType: unknown */
  append_byte(record, 0xfc | samples.chroma);
  append_byte(record, 0xf8 | samples.luma_depth);
  append_byte(record, 0xf8 | samples.chroma_depth);
  append_u16(record, 0); /* avgFrameRate: unknown */
  append_byte(record, (sub_layers + 1) << 3 | nested << 2 | (LENGTH_BYTES - 1));
  append_byte(record, G_N_ELEMENTS(found->places));
  for (guint i = 0; i < G_N_ELEMENTS(found->places); i++) {
    append_byte(record, 0x80 | (H265_VPS + i)); /* array_completeness, which hvc1 demands */
    append_u16(record, found->places[i]->len);
    append_sets(record, found->places[i]);
  }
  return TRUE;
}

void venc_parameter_sets_clear(VencParameterSets *sets) {
  g_clear_pointer(&sets->record, g_bytes_unref);
}

gboolean venc_parameter_sets_find(vsockenc_Codec codec, const guint8 *unit, gsize size,
                                  VencParameterSets *sets, GError **error) {
  g_auto(Found) found;
  g_autoptr(GByteArray) record = g_byte_array_new();
  *sets = (VencParameterSets){0};
  found_init(&found);
  if (!find(codec, unit, size, &found, error) || !found.any) return FALSE;
  if (!(is_h265(codec) ? make_hvcc : make_avcc)(&found, record, sets, error)) return FALSE;
  sets->record = g_byte_array_free_to_bytes(g_steal_pointer(&record));
  return TRUE;
}

guint8 *venc_unit_to_sample(vsockenc_Codec codec, const guint8 *unit, gsize size,
                            gsize *sample_size, GError **error) {
  g_autoptr(GByteArray) sample = g_byte_array_sized_new((guint)MIN(size, G_MAXUINT / 2) + 64);
  g_autoptr(GError) failure = NULL;
  gboolean picture = FALSE;
  Nal nal;
  gsize at = 0;
  while (next_nal(codec, unit, size, &at, &nal, &failure)) {
    if (is_parameter_set(codec, nal.type)) continue;
    picture |= is_picture(codec, nal.type);
    append_u16(sample, nal.size >> 16);
    append_u16(sample, nal.size & 0xffff);
    g_byte_array_append(sample, nal.bytes, (guint)nal.size);
  }
  if (!failure && !picture) malformed(&failure, "it holds no picture");
  if (failure) {
    g_propagate_error(error, g_steal_pointer(&failure));
    return NULL;
  }
  *sample_size = sample->len;
  return g_byte_array_free(g_steal_pointer(&sample), FALSE);
}
