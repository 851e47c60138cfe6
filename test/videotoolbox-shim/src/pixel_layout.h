// Where the samples of a picture lie in memory.
#pragma once

#include <CoreFoundation/CFBase.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

namespace vt_shim {

struct PlaneLayout {
  size_t width;  // in elements; an element of a second plane may hold two samples
  size_t height;
  size_t element_size;
  size_t stride;  // bytes
  size_t offset;  // bytes
};

struct PixelLayout {
  OSType format;
  size_t width;
  size_t height;
  size_t plane_count;  // 0: packed, and planes[0] is the picture
  std::array<PlaneLayout, 3> planes;
  size_t size;  // bytes
  size_t stored_planes() const { return plane_count == 0 ? 1 : plane_count; }
};

// Rows are padded beyond the 64 bytes that VideoToolbox aligns them to, and planes are apart, so
// that no width happens to make a picture contiguous. nullopt: not a format of CoreVideo.
std::optional<PixelLayout> LayoutOf(OSType format, size_t width, size_t height);

// A packed layout that is given by others. 0 as stride: padded as above.
PixelLayout PackedLayout(OSType format, size_t width, size_t height, size_t element_size,
                         size_t stride);

// Aligned to 64 bytes; filled with 0xa5, which no test takes for a picture.
std::shared_ptr<uint8_t> AllocatePixels(size_t size);

// Of the samples, without padding.
uint64_t Checksum(const PixelLayout &layout, const uint8_t *pixels);

}  // namespace vt_shim
