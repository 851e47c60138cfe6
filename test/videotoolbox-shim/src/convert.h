// Pictures from one pixel format and size to another, with libyuv; RGB to YUV with own arithmetic,
// because libyuv's public functions know BT.601 only.
#pragma once

#include <CoreFoundation/CFBase.h>

#include <cstdint>
#include <string_view>

#include "pixel_layout.h"

namespace vt_shim {

struct PictureView {
  const PixelLayout &layout;
  uint8_t *pixels;
  uint8_t *plane(size_t index) const { return pixels + layout.planes[index].offset; }
  size_t stride(size_t index) const { return layout.planes[index].stride; }
  int width() const { return static_cast<int>(layout.width); }
  int height() const { return static_cast<int>(layout.height); }
};

bool IsRgb(OSType format);        // of 8 bits
bool IsBiPlanar(OSType format);   // 420v, 420f
bool IsFullRange(OSType format);  // of YUV
bool IsYuv420(OSType format);     // of 8 bits

// `matrix` is a value of kCVImageBufferYCbCrMatrixKey, for RGB sources; BT.601 unless it is named.
// false: this pair of formats is not converted.
bool Convert(const PictureView &source, const PictureView &destination, std::string_view matrix);

}  // namespace vt_shim
