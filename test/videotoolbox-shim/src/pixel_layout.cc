#include "pixel_layout.h"

#include <CoreVideo/CVPixelBuffer.h>

#include <cstdlib>
#include <cstring>

namespace vt_shim {
namespace {

constexpr size_t kAlignment = 64;

size_t PaddedStride(size_t row) {
  return (row + kAlignment - 1) / kAlignment * kAlignment + kAlignment;
}

// Element sizes by plane, the chroma planes being half as wide and high; 0 ends the list.
struct Format {
  OSType code;
  bool planar;
  size_t element_sizes[3];
};
constexpr Format kFormats[] = {
    {kCVPixelFormatType_32BGRA, false, {4, 0, 0}},
    {kCVPixelFormatType_32ARGB, false, {4, 0, 0}},
    {kCVPixelFormatType_32ABGR, false, {4, 0, 0}},
    {kCVPixelFormatType_32RGBA, false, {4, 0, 0}},
    {kCVPixelFormatType_ARGB2101010LEPacked, false, {4, 0, 0}},
    {kCVPixelFormatType_64RGBAHalf, false, {8, 0, 0}},
    {kCVPixelFormatType_422YpCbCr8, false, {2, 0, 0}},
    {kCVPixelFormatType_420YpCbCr8Planar, true, {1, 1, 1}},
    {kCVPixelFormatType_420YpCbCr8PlanarFullRange, true, {1, 1, 1}},
    {kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange, true, {1, 2, 0}},
    {kCVPixelFormatType_420YpCbCr8BiPlanarFullRange, true, {1, 2, 0}},
    {kCVPixelFormatType_420YpCbCr10BiPlanarVideoRange, true, {2, 4, 0}},
    {kCVPixelFormatType_420YpCbCr10BiPlanarFullRange, true, {2, 4, 0}},
};

}  // namespace

std::optional<PixelLayout> LayoutOf(OSType format, size_t width, size_t height) {
  for (const Format &candidate : kFormats) {
    if (candidate.code != format) {
      continue;
    }
    if (!candidate.planar) {
      return PackedLayout(format, width, height, candidate.element_sizes[0], 0);
    }
    PixelLayout layout{format, width, height, 0, {}, 0};
    for (const size_t element_size : candidate.element_sizes) {
      if (element_size == 0) {
        break;
      }
      const bool chroma = layout.plane_count > 0;
      PlaneLayout &plane = layout.planes[layout.plane_count++];
      plane.width = chroma ? (width + 1) / 2 : width;
      plane.height = chroma ? (height + 1) / 2 : height;
      plane.element_size = element_size;
      plane.stride = PaddedStride(plane.width * element_size);
      plane.offset = layout.size;
      layout.size += plane.stride * plane.height + kAlignment;
    }
    return layout;
  }
  return std::nullopt;
}

PixelLayout PackedLayout(OSType format, size_t width, size_t height, size_t element_size,
                         size_t stride) {
  PixelLayout layout{format, width, height, 0, {}, 0};
  layout.planes[0] = {width, height, element_size,
                      stride == 0 ? PaddedStride(width * element_size) : stride, 0};
  layout.size = layout.planes[0].stride * height;
  return layout;
}

std::shared_ptr<uint8_t> AllocatePixels(size_t size) {
  const size_t rounded = (size + kAlignment - 1) / kAlignment * kAlignment;
  auto *bytes = static_cast<uint8_t *>(std::aligned_alloc(kAlignment, rounded));
  memset(bytes, 0xa5, rounded);
  return {bytes, free};
}

uint64_t Checksum(const PixelLayout &layout, const uint8_t *pixels) {
  uint64_t sum = 0xcbf29ce484222325;
  for (size_t index = 0; index < layout.stored_planes(); ++index) {
    const PlaneLayout &plane = layout.planes[index];
    const size_t row_size = plane.width * plane.element_size;
    for (size_t row = 0; row < plane.height; ++row) {
      const uint8_t *bytes = pixels + plane.offset + row * plane.stride;
      size_t at = 0;
      for (; at + sizeof(uint64_t) <= row_size; at += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, bytes + at, sizeof word);
        sum = (sum ^ word) * 0x100000001b3;
      }
      for (; at < row_size; ++at) {
        sum = (sum ^ bytes[at]) * 0x100000001b3;
      }
    }
  }
  return sum;
}

}  // namespace vt_shim
