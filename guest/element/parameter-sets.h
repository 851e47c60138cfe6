/*
 * Access units: from the byte stream of Annex B (Rec. ITU-T H.264 and H.265) to the samples and
 * decoder configuration records of ISO/IEC 14496-15.
 *
 * These are pure functions. The bytes come from the host and are not trusted: the functions never
 * read out of bounds, and report malformed bytes as errors.
 */
#ifndef VSOCKENC_PARAMETER_SETS_H
#define VSOCKENC_PARAMETER_SETS_H

#include <glib.h>

#include "session.pb.h"

/* general_profile_space to general_level_idc of H.265's profile_tier_level() (7.3.3). */
#define VENC_PROFILE_BYTES 12u

/* Of one stream. */
typedef struct {
  /* H.264: profile_idc, the constraint flags and level_idc; H.265: as above. */
  guint8 profile[VENC_PROFILE_BYTES];
  guint profile_size;
  /* AVCDecoderConfigurationRecord (5.3.3.1) or HEVCDecoderConfigurationRecord (8.3.3.1). */
  GBytes *record;
} VencParameterSets;

void venc_parameter_sets_clear(VencParameterSets *sets);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VencParameterSets, venc_parameter_sets_clear)

/*
 * Collects the parameter sets ahead of the picture. FALSE without `error` if there are none at all;
 * an error if they are incomplete or unsupported.
 */
gboolean venc_parameter_sets_find(vsockenc_Codec codec, const guint8 *unit, gsize size,
                                  VencParameterSets *sets, GError **error);

/*
 * The NAL units behind lengths of four bytes each, without parameter sets, which the sample entries
 * avc1 and hvc1 keep out of the samples. Newly allocated; NULL with `error` if `unit` is malformed
 * or holds no picture.
 */
guint8 *venc_unit_to_sample(vsockenc_Codec codec, const guint8 *unit, gsize size,
                            gsize *sample_size, GError **error);

#endif
