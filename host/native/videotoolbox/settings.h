#pragma once

#include <CoreVideo/CoreVideo.h>

#include "../media/encoder/session_encoder.h"

namespace vsockenc::vt {

enum class Codec { kH264, kHevc };

// Of H.264; HEVC has Main alone.
enum class Profile { kConstrainedBaseline, kMain, kHigh };

struct Settings : StreamSettings {
  Codec codec;
  Profile profile;
};

// CoreVideo's names of code points; NULL where it has none. The buffer is not tagged then, but an
// H.264 stream still carries the code point (access_unit.h).
struct ColourNames {
  CFStringRef primaries;
  CFStringRef transfer;
  CFStringRef matrix;
};

ColourNames NamesOf(const ColourDescription &colour);

// Attaches colours and the shape of pixels to a buffer. Buffers of a pool have no attachments, or
// those of their last use, and an encoder converts a buffer whose tags differ from its session's.
void Tag(CVPixelBufferRef buffer, const Settings &settings);

// chroma_sample_loc_type of H.264. RGB is converted with the mean of four pixels; for YUV, whose
// source does not state it, this is the default.
constexpr int ChromaLocation(const Settings &settings) {
  return settings.rgb ? 1 : 0;
}

// NV12 of the range that is encoded.
constexpr OSType EncodedFormat(const Settings &settings) {
  return settings.colour.full_range ? kCVPixelFormatType_420YpCbCr8BiPlanarFullRange
                                    : kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange;
}

}  // namespace vsockenc::vt
