#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace vsockenc {

// Bits begin … end-1 of a payload.
struct BitRange {
  size_t begin;
  size_t end;
};

// What rewriting the VUI of an H.264 sequence parameter set needs to know of it. All else is copied
// bit by bit, so it need not be understood to be kept.
struct H264Sps {
  // Bits ahead of vui_parameters_present_flag.
  size_t vui_flag;
  uint32_t max_num_ref_frames;
  // Parts of the VUI, where the encoder has written one:
  // overscan_info_present_flag and what belongs to it;
  std::optional<BitRange> overscan;
  // nal_hrd_parameters_present_flag … pic_struct_present_flag;
  std::optional<BitRange> hrd;
  // motion_vectors_over_pic_boundaries_flag … log2_max_mv_length_vertical.
  std::optional<BitRange> restriction;
};

// Parses seq_parameter_set_rbsp (Rec. ITU-T H.264, 7.3.2.1.1 and E.1) to its last bit; `payload`
// has no NAL unit header and no emulation prevention. Nothing for one that breaks the syntax, or
// has values that the syntax's length depends on beyond their bounds.
std::optional<H264Sps> ParseH264Sps(std::span<const uint8_t> payload);

}  // namespace vsockenc
