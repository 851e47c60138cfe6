#pragma once

#include <CoreMedia/CoreMedia.h>

#include <cstdint>
#include <span>
#include <vector>

#include "../media/bitstream/sps_vui.h"
#include "settings.h"

namespace vsockenc::vt {

struct AnnexB {
  std::vector<uint8_t> bytes;
  bool key;
};

// What an H.264 stream of these settings says of itself.
H264Vui VuiOf(const Settings &settings);

// The NAL units of bytes in which each stands behind its length, big-endian, of `length_size`
// bytes. Throws VideoToolboxError when a length leads beyond the bytes, or is 0.
std::vector<std::span<const uint8_t>> NalUnits(std::span<const uint8_t> bytes, size_t length_size);

// Turns a sample into an access unit: VideoToolbox gives NAL units behind lengths (ISO/IEC
// 14496-15), and keeps parameter sets apart from them. A key frame gets every set of its format
// description, those of H.264 with `vui`. Throws VideoToolboxError for a sample that cannot be one.
AnnexB ToAnnexB(CMSampleBufferRef sample, Codec codec, const H264Vui &vui);

}  // namespace vsockenc::vt
