#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace vsockenc {

// Code points of ISO/IEC 23091-2, as in libavutil.
struct ColourDescription {
  int primaries;
  int transfer;
  int matrix;
  bool full_range;
};

struct Fraction {
  int numerator;
  int denominator;
};

// The VUI of an H.264 stream, which replaces the encoder's. Every encoder of this program returns a
// picture before it takes the next one, so there is no reordering.
struct H264Vui {
  Fraction aspect;  // of a pixel; terms are 1 … 65535
  ColourDescription colour;
  int chroma_location;                // chroma_sample_loc_type of both fields, 0 … 5
  std::optional<Fraction> framerate;  // nothing: it varies, and the VUI states none
};

// Rewrites a sequence parameter set (a NAL unit with its header, without start code) with this VUI.
// (libavcodec's h264_metadata filter can neither remove timing_info nor add bitstream_restriction.)
// - aspect_ratio, video_signal_type, chroma_loc, timing_info (fixed_frame_rate_flag 1) as given;
//   chroma_loc is left out for location 0, the default;
// - bitstream_restriction with max_num_reorder_frames 0 and as many buffers as there are reference
//   frames: without it a decoder waits for as many pictures as the level allows; its limits of
//   motion vectors and sizes are the encoder's, or "no limit";
// - overscan, HRD and pic_struct_present_flag of the encoder; an HRD also has the times at which
//   pictures are shown, which only the encoder knows.
// All other bits stay the same. Returns nothing for a unit that is not a parameter set or cannot be
// parsed. Accepts any bytes; only memory allocation can fail.
std::optional<std::vector<uint8_t>> RewriteSps(std::span<const uint8_t> unit, const H264Vui &vui);

// Rewrites the parameter sets before the first slice of an access unit in Annex B. Returns nothing
// when no byte changes; a parameter set that cannot be parsed stays as it is.
std::optional<std::vector<uint8_t>> RewriteAccessUnit(std::span<const uint8_t> access_unit,
                                                      const H264Vui &vui);

}  // namespace vsockenc
