#include "h264_sps.h"

#include <algorithm>
#include <array>

#include "nal_unit.h"

namespace vsockenc {
namespace {

constexpr uint8_t kExtendedSar = 255;

// Profiles whose parameter sets have chroma_format_idc and what follows it.
bool HasChromaFormat(uint32_t profile_idc) {
  constexpr std::array<uint32_t, 13> kProfiles{100, 110, 122, 244, 44,  83, 86,
                                               118, 128, 138, 139, 134, 135};
  return std::ranges::find(kProfiles, profile_idc) != kProfiles.end();
}

// scaling_list(), 7.3.2.1.1.1: a scale of 0 stands for the rest of the list.
void SkipScalingList(BitReader &bits, int size) {
  int64_t scale = 8;
  for (int i = 0; i < size && !bits.failed(); ++i) {
    scale = ((scale + bits.Signed()) % 256 + 256) % 256;
    if (scale == 0) return;
  }
}

void SkipChromaFormat(BitReader &bits) {
  const uint32_t chroma_format_idc = bits.UnsignedUpTo(3);
  if (chroma_format_idc == 3) bits.Flag();  // separate_colour_plane_flag
  bits.UnsignedUpTo(6);                     // bit_depth_luma_minus8
  bits.UnsignedUpTo(6);                     // bit_depth_chroma_minus8
  bits.Flag();                              // qpprime_y_zero_transform_bypass_flag
  if (!bits.Flag()) return;                 // seq_scaling_matrix_present_flag
  const int lists = chroma_format_idc == 3 ? 12 : 8;
  for (int i = 0; i < lists; ++i) {
    if (bits.Flag()) SkipScalingList(bits, i < 6 ? 16 : 64);
  }
}

void SkipPictureOrderCount(BitReader &bits) {
  const uint32_t type = bits.UnsignedUpTo(2);
  if (type == 0) bits.UnsignedUpTo(12);  // log2_max_pic_order_cnt_lsb_minus4
  if (type != 1) return;
  bits.Flag();    // delta_pic_order_always_zero_flag
  bits.Signed();  // offset_for_non_ref_pic
  bits.Signed();  // offset_for_top_to_bottom_field
  for (uint32_t i = bits.UnsignedUpTo(255); i > 0; --i) bits.Signed();  // offset_for_ref_frame
}

// hrd_parameters(), E.1.2
void SkipHrd(BitReader &bits) {
  const uint32_t count = bits.UnsignedUpTo(31) + 1;
  bits.Bits(8);  // bit_rate_scale, cpb_size_scale
  for (uint32_t i = 0; i < count; ++i) {
    bits.Unsigned();  // bit_rate_value_minus1
    bits.Unsigned();  // cpb_size_value_minus1
    bits.Flag();      // cbr_flag
  }
  bits.Bits(20);  // lengths of delays and time offset
}

// vui_parameters(), E.1.1
void ParseVui(BitReader &bits, H264Sps &sps) {
  if (bits.Flag() && bits.Bits(8) == kExtendedSar) bits.Bits(32);

  sps.overscan = {bits.position(), 0};
  if (bits.Flag()) bits.Flag();
  sps.overscan->end = bits.position();

  if (bits.Flag()) {  // video_signal_type_present_flag
    bits.Bits(4);
    if (bits.Flag()) bits.Bits(24);
  }
  if (bits.Flag()) {  // chroma_loc_info_present_flag
    bits.UnsignedUpTo(5);
    bits.UnsignedUpTo(5);
  }
  if (bits.Flag()) {  // timing_info_present_flag
    bits.Bits(32);
    bits.Bits(32);
    bits.Flag();
  }

  sps.hrd = {bits.position(), 0};
  const bool nal = bits.Flag();
  if (nal) SkipHrd(bits);
  const bool vcl = bits.Flag();
  if (vcl) SkipHrd(bits);
  if (nal || vcl) bits.Flag();  // low_delay_hrd_flag
  bits.Flag();                  // pic_struct_present_flag
  sps.hrd->end = bits.position();

  if (!bits.Flag()) return;  // bitstream_restriction_flag
  sps.restriction = {bits.position(), 0};
  bits.Flag();                                        // motion_vectors_over_pic_boundaries_flag
  for (int i = 0; i < 4; ++i) bits.UnsignedUpTo(16);  // denominators and lengths of vectors
  sps.restriction->end = bits.position();
  bits.Unsigned();  // max_num_reorder_frames
  bits.Unsigned();  // max_dec_frame_buffering
}

}  // namespace

std::optional<H264Sps> ParseH264Sps(std::span<const uint8_t> payload) {
  BitReader bits(payload);
  H264Sps sps{};
  const uint32_t profile_idc = bits.Bits(8);
  bits.Bits(16);          // constraint flags, level_idc
  bits.UnsignedUpTo(31);  // seq_parameter_set_id
  if (HasChromaFormat(profile_idc)) SkipChromaFormat(bits);
  bits.UnsignedUpTo(12);  // log2_max_frame_num_minus4
  SkipPictureOrderCount(bits);
  sps.max_num_ref_frames = bits.UnsignedUpTo(16);
  bits.Flag();                    // gaps_in_frame_num_value_allowed_flag
  bits.Unsigned();                // pic_width_in_mbs_minus1
  bits.Unsigned();                // pic_height_in_map_units_minus1
  if (!bits.Flag()) bits.Flag();  // frame_mbs_only_flag, mb_adaptive_frame_field_flag
  bits.Flag();                    // direct_8x8_inference_flag
  if (bits.Flag()) {              // frame_cropping_flag
    for (int i = 0; i < 4; ++i) bits.Unsigned();
  }
  sps.vui_flag = bits.position();
  if (bits.Flag()) ParseVui(bits, sps);
  if (!bits.AtTrailingBits()) return std::nullopt;
  return sps;
}

}  // namespace vsockenc
