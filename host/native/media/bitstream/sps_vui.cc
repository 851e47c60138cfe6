#include "sps_vui.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "nal_unit.h"

namespace vsockenc {
namespace {

// nal_unit_type, table 7-1
constexpr int kLastSliceType = 5;
constexpr int kSpsType = 7;
constexpr uint32_t kExtendedSar = 255;  // aspect_ratio_idc: the terms follow

int TypeOf(std::span<const uint8_t> unit) {
  return unit.empty() ? 0 : unit.front() & 0x1f;
}

// Bits begin … end-1 of a payload.
struct BitRange {
  size_t begin;
  size_t end;
};

// The parts of an H.264 sequence parameter set that a new VUI depends on. All others are copied bit
// by bit without interpretation.
struct H264Sps {
  // Number of bits before vui_parameters_present_flag.
  size_t vui_flag;
  uint32_t max_num_ref_frames;
  // Parts of the VUI, if the encoder has written one:
  // overscan_info_present_flag and its fields;
  std::optional<BitRange> overscan;
  // nal_hrd_parameters_present_flag … pic_struct_present_flag;
  std::optional<BitRange> hrd;
  // motion_vectors_over_pic_boundaries_flag … log2_max_mv_length_vertical.
  std::optional<BitRange> restriction;
};

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

// Parses seq_parameter_set_rbsp (Rec. ITU-T H.264, 7.3.2.1.1 and E.1) to its last bit; `payload`
// has no NAL unit header and no emulation prevention. Returns nothing for a syntax error, or if a
// value that the length of the syntax depends on is out of bounds.
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

// aspect_ratio_idc 1 … 16, table E-1
constexpr std::pair<int, int> kAspects[] = {
    {1, 1},   {12, 11}, {10, 11}, {16, 11}, {40, 33},  {24, 11}, {20, 11}, {32, 11},
    {80, 33}, {18, 11}, {15, 11}, {64, 33}, {160, 99}, {4, 3},   {3, 2},   {2, 1}};

void WriteAspect(BitWriter &bits, const Fraction &aspect) {
  bits.Flag(true);
  const auto *known = std::ranges::find(kAspects, std::pair(aspect.numerator, aspect.denominator));
  if (known != std::end(kAspects)) {
    bits.Bits(static_cast<uint32_t>(known - std::begin(kAspects)) + 1, 8);
    return;
  }
  bits.Bits(kExtendedSar, 8);
  bits.Bits(static_cast<uint32_t>(aspect.numerator), 16);
  bits.Bits(static_cast<uint32_t>(aspect.denominator), 16);
}

void WriteColour(BitWriter &bits, const ColourDescription &colour) {
  constexpr uint32_t kUnspecifiedFormat = 5;  // table E-2
  bits.Flag(true);
  bits.Bits(kUnspecifiedFormat, 3);
  bits.Flag(colour.full_range);
  bits.Flag(true);
  for (const int point : {colour.primaries, colour.transfer, colour.matrix}) {
    bits.Bits(static_cast<uint32_t>(point), 8);
  }
}

void WriteChromaLocation(BitWriter &bits, int location) {
  bits.Flag(location != 0);
  if (location == 0) return;
  bits.Unsigned(static_cast<uint32_t>(location));
  bits.Unsigned(static_cast<uint32_t>(location));
}

// A tick is the time of a field, half a frame (E.2.1).
void WriteTiming(BitWriter &bits, const std::optional<Fraction> &framerate) {
  bits.Flag(framerate.has_value());
  if (!framerate) return;
  bits.Bits(static_cast<uint32_t>(framerate->denominator), 32);
  bits.Bits(static_cast<uint32_t>(framerate->numerator) * 2, 32);
  bits.Flag(true);
}

// Part of the encoder's VUI, or `count` zero bits if it has none.
void CopyOrZero(BitWriter &bits, std::span<const uint8_t> payload,
                const std::optional<BitRange> &range, int count) {
  if (range) {
    bits.Copy(payload, range->begin, range->end);
  } else {
    bits.Bits(0, count);
  }
}

void WriteRestriction(BitWriter &bits, std::span<const uint8_t> payload, const H264Sps &sps) {
  bits.Flag(true);
  if (sps.restriction) {
    bits.Copy(payload, sps.restriction->begin, sps.restriction->end);
  } else {
    constexpr uint32_t kLongestVector = 15;  // the default without these fields
    bits.Flag(true);
    bits.Unsigned(0);  // no limit of bytes a picture
    bits.Unsigned(0);  // nor of bits a macroblock
    bits.Unsigned(kLongestVector);
    bits.Unsigned(kLongestVector);
  }
  bits.Unsigned(0);
  bits.Unsigned(sps.max_num_ref_frames);
}

}  // namespace

std::optional<std::vector<uint8_t>> RewriteSps(std::span<const uint8_t> unit, const H264Vui &vui) {
  if (TypeOf(unit) != kSpsType) return std::nullopt;
  const std::vector<uint8_t> payload = RemoveEmulationPrevention(unit.subspan(1));
  const std::optional<H264Sps> sps = ParseH264Sps(payload);
  if (!sps) return std::nullopt;

  BitWriter bits;
  bits.Bits(unit.front(), 8);
  bits.Copy(payload, 0, sps->vui_flag);
  bits.Flag(true);
  WriteAspect(bits, vui.aspect);
  CopyOrZero(bits, payload, sps->overscan, 1);
  WriteColour(bits, vui.colour);
  WriteChromaLocation(bits, vui.chroma_location);
  WriteTiming(bits, vui.framerate);
  CopyOrZero(bits, payload, sps->hrd, 3);
  WriteRestriction(bits, payload, *sps);
  return AddEmulationPrevention(std::move(bits).Finish());
}

std::optional<std::vector<uint8_t>> RewriteAccessUnit(std::span<const uint8_t> access_unit,
                                                      const H264Vui &vui) {
  std::vector<uint8_t> rewritten;
  size_t copied = 0;  // bytes of the access unit that are in `rewritten`
  for (auto begin = NextNalUnit(access_unit, 0); begin;) {
    const int type = TypeOf(access_unit.subspan(*begin));
    if (type >= 1 && type <= kLastSliceType) break;
    const size_t end = NalUnitEnd(access_unit, *begin);
    const auto unit = access_unit.subspan(*begin, end - *begin);
    const std::optional<std::vector<uint8_t>> sps = RewriteSps(unit, vui);
    if (sps && !std::ranges::equal(*sps, unit)) {
      const auto kept = access_unit.subspan(copied, *begin - copied);
      rewritten.reserve(access_unit.size() + sps->size());
      rewritten.insert(rewritten.end(), kept.begin(), kept.end());
      rewritten.insert(rewritten.end(), sps->begin(), sps->end());
      copied = end;
    }
    begin = NextNalUnit(access_unit, end);
  }
  if (copied == 0) return std::nullopt;
  const auto rest = access_unit.subspan(copied);
  rewritten.insert(rewritten.end(), rest.begin(), rest.end());
  return rewritten;
}

}  // namespace vsockenc
