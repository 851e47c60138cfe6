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

// The VUI of an H.264 stream with these settings.
H264Vui VuiOf(const Settings &settings);

// The NAL units of bytes in which each follows its big-endian length of `length_size` bytes. Throws
// VideoToolboxError when a length exceeds the bytes, or is 0.
std::vector<std::span<const uint8_t>> NalUnits(std::span<const uint8_t> bytes, size_t length_size);

// Converts a sample to an access unit: VideoToolbox puts lengths before NAL units (ISO/IEC
// 14496-15) and keeps parameter sets apart. A key frame gets every set of its format description,
// those of H.264 with `vui`. Throws VideoToolboxError for a malformed sample.
AnnexB ToAnnexB(CMSampleBufferRef sample, Codec codec, const H264Vui &vui);

}  // namespace vsockenc::vt
