#pragma once

#include <CoreVideo/CoreVideo.h>

#include "settings.h"

namespace vsockenc::vt {

// CoreVideo's names of code points. NULL where it has none: the buffer is not tagged then, and an
// H.264 stream says it all the same (access_unit.h).
struct ColourNames {
  CFStringRef primaries;
  CFStringRef transfer;
  CFStringRef matrix;
};

ColourNames NamesOf(const ColourDescription &colour);

// Says which colours and pixels a buffer has. Buffers of a pool come with none or with those of
// their last use, and an encoder converts what is tagged otherwise than its session.
void Tag(CVPixelBufferRef buffer, const Settings &settings);

// Where the chroma samples of the stream lie: chroma_sample_loc_type of H.264. RGB is converted
// with the mean of four pixels; YUV tells nothing, so it is what everybody assumes.
constexpr int ChromaLocation(const Settings &settings) {
  return settings.rgb ? 1 : 0;
}

// NV12 of the range that is encoded.
constexpr OSType EncodedFormat(const Settings &settings) {
  return settings.colour.full_range ? kCVPixelFormatType_420YpCbCr8BiPlanarFullRange
                                    : kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange;
}

}  // namespace vsockenc::vt
