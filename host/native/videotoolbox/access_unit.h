#pragma once

#include <CoreMedia/CoreMedia.h>

#include <cstdint>
#include <vector>

#include "../media/sps_vui.h"
#include "settings.h"

namespace vsockenc::vt {

struct AnnexB {
  std::vector<uint8_t> bytes;
  bool key;
};

// What an H.264 stream of these settings says of itself.
H264Vui VuiOf(const Settings &settings);

// Turns a sample into an access unit: VideoToolbox gives NAL units behind lengths (ISO/IEC
// 14496-15), and keeps parameter sets apart from them. A key frame gets every set of its format
// description, those of H.264 with `vui`. Throws VideoToolboxError for a sample that cannot be one.
AnnexB ToAnnexB(CMSampleBufferRef sample, Codec codec, const H264Vui &vui);

}  // namespace vsockenc::vt
