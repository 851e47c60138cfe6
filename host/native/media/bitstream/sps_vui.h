#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "video_signal.h"

namespace vsockenc {

// The VUI that an H.264 stream is to have, whatever its encoder writes. Every encoder of this
// program gives a picture before it takes the next, so there is no reordering.
struct H264Vui {
  Fraction aspect;  // of a pixel; terms are 1 … 65535
  ColourDescription colour;
  int chroma_location;                // chroma_sample_loc_type of both fields, 0 … 5
  std::optional<Fraction> framerate;  // nothing: it varies, and none is stated
};

// Writes a sequence parameter set (a NAL unit with its header, without start code) with this VUI:
// - aspect_ratio, video_signal_type, chroma_loc, timing_info (fixed_frame_rate_flag 1) as given;
//   chroma_loc is left out for location 0, which is what its absence means;
// - bitstream_restriction with max_num_reorder_frames 0 and as many buffers as there are reference
//   frames: without it a decoder waits for as many pictures as the level allows; what it says of
//   motion vectors and sizes is the encoder's, or "no limit";
// - overscan, HRD and pic_struct_present_flag as the encoder had them; an HRD also says when
//   pictures are to be shown, so it is the encoder's own business.
// All else stays as it was, bit by bit. Nothing for a unit that is no parameter set or that cannot
// be parsed. It reads any bytes; only memory can fail.
std::optional<std::vector<uint8_t>> RewriteSps(std::span<const uint8_t> unit, const H264Vui &vui);

// Does so to the parameter sets ahead of the first slice of an access unit in Annex B. Nothing when
// no byte changes; a parameter set that cannot be parsed stays as it is.
std::optional<std::vector<uint8_t>> RewriteAccessUnit(std::span<const uint8_t> access_unit,
                                                      const H264Vui &vui);

}  // namespace vsockenc
