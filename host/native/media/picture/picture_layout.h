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
// Sixteen times the widest row of four bytes a pixel. Far below 2^31, because libyuv computes with
// int.
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

// A picture as the guest described it: nothing of it is trusted.
struct PictureLayout {
  uint64_t width;
  uint64_t height;
  uint64_t fourcc;
  std::vector<PlaneLayout> planes;
  Rectangle visible;  // the part that is encoded
};

// Checks everything about a layout that does not depend on memory. Throws PictureError.
const PixelFormat &CheckLayout(const PictureLayout &layout);

// What each of the resources has to have for the planes in it: the whole planes must lie within
// `available` bytes. Throws PictureError when they do not, and for a resource without a plane.
// `layout` has passed CheckLayout.
std::vector<uint64_t> NeededBytes(const PictureLayout &layout, const PixelFormat &format,
                                  std::span<const uint64_t> available);

// Offset of the first visible sample of a plane in its resource.
uint64_t FirstVisible(const PictureLayout &layout, const PixelFormat &format, size_t plane);

// The bytes of a resource from its first visible sample to its last one, rows between included.
ByteRange VisibleBytes(const PictureLayout &layout, const PixelFormat &format, size_t resource);

}  // namespace vsockenc
