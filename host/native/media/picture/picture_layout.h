#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "../../../../proto/gen/c/vsockenc-limits.h"
#include "../memory/extents.h"
#include "pixel_format.h"

namespace vsockenc {

constexpr uint64_t kMaxDimension = VSOCKENC_MAX_DIMENSION;
// Sixteen times the widest row at four bytes a pixel. Far below 2^31, because libyuv uses int.
constexpr uint64_t kMaxStride = uint64_t{1} << 20;

struct Rectangle {
  uint64_t x;
  uint64_t y;
  uint64_t width;
  uint64_t height;
};

struct PlaneLayout {
  size_t resource;  // index of the resource that the plane lies in
  uint64_t offset;  // of the first pixel, in bytes
  uint64_t stride;  // from row to row, in bytes
};

// A picture as the guest describes it: untrusted.
struct PictureLayout {
  uint64_t width;
  uint64_t height;
  uint64_t fourcc;
  std::vector<PlaneLayout> planes;
  Rectangle visible;  // the part that is encoded
};

// Checks all parts of a layout that do not depend on memory. Throws PictureError.
const PixelFormat &CheckLayout(const PictureLayout &layout);

// The bytes that each resource needs for its planes: the whole planes must lie within `available`
// bytes. Throws PictureError when they do not, and for a resource without a plane. `layout` must
// have passed CheckLayout.
std::vector<uint64_t> NeededBytes(const PictureLayout &layout, const PixelFormat &format,
                                  std::span<const uint64_t> available);

// Offset of the first visible sample of a plane in its resource.
uint64_t FirstVisible(const PictureLayout &layout, const PixelFormat &format, size_t plane);

// The bytes of a resource from its first to its last visible sample, including whole rows between.
ByteRange VisibleBytes(const PictureLayout &layout, const PixelFormat &format, size_t resource);

}  // namespace vsockenc
