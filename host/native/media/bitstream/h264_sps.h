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

// Parses seq_parameter_set_rbsp (Rec. ITU-T H.264, 7.3.2.1.1 and E.1) to its last bit; `payload`
// has no NAL unit header and no emulation prevention. Returns nothing for a syntax error, or if a
// value that the length of the syntax depends on is out of bounds.
std::optional<H264Sps> ParseH264Sps(std::span<const uint8_t> payload);

}  // namespace vsockenc
