/* Annex B to samples and decoder configuration records, with valid and malformed streams. */
#include "parameter-sets.h"

#include <gst/check/gstharness.h>
#include <string.h>

#include "vectors.h"

/* The record of GStreamer's own parser. */
static GBytes *parsed_record(const Vector *vector) {
  gboolean h265 = vector->codec == vsockenc_Codec_H265;
  GstHarness *h = gst_harness_new(h265 ? "h265parse" : "h264parse");
  gst_harness_set_caps_str(h,
                           h265 ? "video/x-h265,stream-format=byte-stream,alignment=au"
                                : "video/x-h264,stream-format=byte-stream,alignment=au",
                           h265 ? "video/x-h265,stream-format=hvc1,alignment=au"
                                : "video/x-h264,stream-format=avc,alignment=au");
  gst_harness_push(h, gst_buffer_new_memdup(vector->unit, vector->size));
  gst_harness_push_event(h, gst_event_new_eos());
  g_autoptr(GstCaps) caps = gst_pad_get_current_caps(h->sinkpad);
  g_assert_nonnull(caps);
  const GValue *value = gst_structure_get_value(gst_caps_get_structure(caps, 0), "codec_data");
  gpointer record;
  gsize size;
  gst_buffer_extract_dup(gst_value_get_buffer(value), 0, (gsize)-1, &record, &size);
  gst_harness_teardown(h);
  return g_bytes_new_take(record, size);
}

/* Clears array_completeness, which hvc1 requires and h265parse does not set. */
static void clear_completeness(guint8 *record, gsize size) {
  gsize at = 23;
  for (guint array = 0; array < record[22]; array++) {
    record[at] &= 0x7f;
    guint units = (guint)(record[at + 1] << 8 | record[at + 2]);
    for (at += 3; units > 0; units--) at += 2 + (gsize)(record[at] << 8 | record[at + 1]);
    g_assert_cmpuint(at, <=, size);
  }
}

static void test_record(gconstpointer data) {
  static const guint8 high[] = {0xfd, 0xf8, 0xf8, 0};
  const Vector *vector = data;
  g_autoptr(GBytes) expected = parsed_record(vector);
  g_auto(VencParameterSets) sets = {0};
  g_autoptr(GError) error = NULL;
  gsize size, expected_size;

  g_assert_true(venc_parameter_sets_find(vector->codec, vector->unit, vector->size, &sets, &error));
  g_assert_no_error(error);
  g_autofree guint8 *ours =
      g_memdup2(g_bytes_get_data(sets.record, &size), g_bytes_get_size(sets.record));
  g_autofree guint8 *theirs =
      g_memdup2(g_bytes_get_data(expected, &expected_size), g_bytes_get_size(expected));
  if (vector->codec == vsockenc_Codec_H265) {
    g_assert_cmphex(ours[23], ==, 0xa0);
    clear_completeness(ours, size);
    clear_completeness(theirs, expected_size);
  } else if (vector->profile == vsockenc_Profile_H264_HIGH) {
    /* h264parse omits the fields that 5.3.3.1.2 adds for this profile: 4:2:0, eight bits. */
    g_assert_cmpmem(ours + size - sizeof high, sizeof high, high, sizeof high);
    if (expected_size < size) size -= sizeof high;
  }
  g_assert_cmpmem(ours, size, theirs, expected_size);
}

/* The sample is only the length-prefixed picture. */
static void test_sample(gconstpointer data) {
  const Vector *vector = data;
  g_autoptr(GError) error = NULL;
  gsize size = 0, picture = vector->size - vector->sets_size - 3;
  g_autofree guint8 *sample =
      venc_unit_to_sample(vector->codec, vector->unit, vector->size, &size, &error);
  g_assert_no_error(error);
  g_assert_cmpuint(GST_READ_UINT32_BE(sample), ==, picture);
  g_assert_cmpmem(sample + 4, size - 4, vector->unit + vector->size - picture, picture);
}

/* Access unit delimiter and SEI remain, in order. */
static void test_others_stay(void) {
  static const guint8 unit[] = {0, 0, 0,    1, 0x09, 0x10, 0,    0,    0, 1, 0x06, 5,
                                1, 9, 0x80, 0, 0,    1,    0x41, 0x9a, 7, 0, 0};
  static const guint8 expected[] = {0, 0, 0, 2,    0x09, 0x10, 0, 0, 0,    5,    0x06,
                                    5, 1, 9, 0x80, 0,    0,    0, 3, 0x41, 0x9a, 7};
  g_auto(VencParameterSets) sets = {0};
  g_autoptr(GError) error = NULL;
  gsize size = 0;
  g_autofree guint8 *sample =
      venc_unit_to_sample(vsockenc_Codec_H264, unit, sizeof unit, &size, &error);
  g_assert_no_error(error);
  g_assert_cmpmem(sample, size, expected, sizeof expected);
  g_assert_false(venc_parameter_sets_find(vsockenc_Codec_H264, unit, sizeof unit, &sets, &error));
  g_assert_no_error(error);
}

/* Calls both functions with an exact copy, so that a sanitizer detects reads past its end. */
static void swallow(vsockenc_Codec codec, const guint8 *bytes, gsize size) {
  g_autofree guint8 *copy = g_memdup2(bytes, size);
  g_auto(VencParameterSets) sets = {0};
  g_autoptr(GError) first = NULL, second = NULL;
  gsize sample_size = 0;
  gboolean found = venc_parameter_sets_find(codec, copy, size, &sets, &first);
  g_assert_true(found ? sets.record != NULL && !first : sets.record == NULL);
  g_autofree guint8 *sample = venc_unit_to_sample(codec, copy, size, &sample_size, &second);
  g_assert_true((sample != NULL) == (second == NULL));
  g_assert_cmpuint(sample_size, <=, size + size / 4 + 4);
}

static void test_truncated(gconstpointer data) {
  const Vector *vector = data;
  for (guint size = 0; size < vector->size; size++) swallow(vector->codec, vector->unit, size);
}

/* Replaces every byte by values with a meaning for the parser. */
static void test_mutated(gconstpointer data) {
  static const guint8 values[] = {0, 1, 3, 0x7f, 0x80, 0xff};
  const Vector *vector = data;
  g_autofree guint8 *unit = g_memdup2(vector->unit, vector->size);
  for (guint i = 0; i < vector->size; i++) {
    for (guint v = 0; v < G_N_ELEMENTS(values); v++) {
      unit[i] = values[v];
      swallow(vsockenc_Codec_H264, unit, vector->size);
      swallow(vsockenc_Codec_H265, unit, vector->size);
    }
    unit[i] = vector->unit[i];
  }
}

#define BYTES(...) ((const guint8[]){__VA_ARGS__}), sizeof((const guint8[]){__VA_ARGS__})

static void assert_refused(const guint8 *bytes, gsize size, const gchar *text) {
  g_auto(VencParameterSets) sets = {0};
  g_autoptr(GError) error = NULL;
  gsize sample_size;
  g_autofree guint8 *sample =
      venc_unit_to_sample(vsockenc_Codec_H264, bytes, size, &sample_size, &error);
  if (!error) venc_parameter_sets_find(vsockenc_Codec_H264, bytes, size, &sets, &error);
  g_assert_nonnull(error);
  g_assert_nonnull(strstr(error->message, text));
}

static void test_malformed(void) {
  assert_refused(BYTES(0, 0, 0, 0), "no start code");
  assert_refused(BYTES(0x65, 0, 0, 1, 0x65, 0x88), "no start code");
  assert_refused(BYTES(0, 1, 0x65, 0x88), "no start code");
  assert_refused(BYTES(0, 0, 1, 0, 0, 1, 0x65, 0x88), "empty");
  assert_refused(BYTES(0, 0, 1, 0xe5, 0x88), "forbidden_zero_bit");
  assert_refused(BYTES(0, 0, 1, 0x09, 0x10), "no picture");
  assert_refused(BYTES(0, 0, 1, 0x67, 0x42, 0xc0, 10, 1, 0, 0, 1, 0x65, 0x88), "missing");
  assert_refused(
      BYTES(0, 0, 1, 0x67, 100, 0, 10, 0x01, 0, 0, 1, 0x68, 0xce, 0, 0, 1, 0x65, 0x88, 1),
      "breaks off");
}

/* More sets than the record's 5-bit count, and one longer than its 16-bit length. */
static void test_too_many(void) {
  g_autoptr(GByteArray) unit = g_byte_array_new();
  for (guint8 i = 0; i < 40; i++) {
    const guint8 sps[] = {0, 0, 1, 0x67, 0x42, 0xc0, 10, (guint8)(0x80 | i)};
    g_byte_array_append(unit, sps, sizeof sps);
  }
  g_byte_array_append(unit, (const guint8[]){0, 0, 1, 0x68, 0xce, 0, 0, 1, 0x65, 0x88}, 10);
  assert_refused(unit->data, unit->len, "more parameter sets");
  g_byte_array_set_size(unit, 8 + 70000);
  memset(unit->data + 8, 0x55, 70000);
  g_byte_array_append(unit, (const guint8[]){0, 0, 1, 0x68, 0xce, 0, 0, 1, 0x65, 0x88}, 10);
  assert_refused(unit->data, unit->len, "65535");
}

int main(int argc, char **argv) {
  gst_init(&argc, &argv);
  g_test_init(&argc, &argv, NULL);
  for (guint i = 0; i < N_VECTORS; i++) {
#define TEST(name, test)                                                       \
  g_autofree gchar *name = g_strdup_printf("/parameter-sets/" #name "/%u", i); \
  g_test_add_data_func(name, &VECTORS[i], test)
    TEST(record, test_record);
    TEST(sample, test_sample);
    TEST(truncated, test_truncated);
    TEST(mutated, test_mutated);
  }
  g_test_add_func("/parameter-sets/others-stay", test_others_stay);
  g_test_add_func("/parameter-sets/malformed", test_malformed);
  g_test_add_func("/parameter-sets/too-many", test_too_many);
  return g_test_run();
}
