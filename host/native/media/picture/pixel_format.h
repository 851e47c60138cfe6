#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace vsockenc {

// One plane of a format: each sample has `bytes` bytes and covers `horizontal` x `vertical` pixels.
struct PlaneShape {
  uint32_t bytes;
  uint32_t horizontal;
  uint32_t vertical;

  // An incomplete sample at an odd edge counts as a whole one.
  constexpr uint64_t RowBytes(uint64_t width) const {
    return (width + horizontal - 1) / horizontal * bytes;
  }
  constexpr uint64_t Rows(uint64_t height) const { return (height + vertical - 1) / vertical; }
};

// A libyuv conversion of packed pixels to three planes of 4:2:0: source, stride, then pointer and
// stride of Y, U and V, then width and height. Odd sizes give (width + 1) / 2 columns of chroma.
using ToPlanar420 = int (*)(const uint8_t *, int, uint8_t *, int, uint8_t *, int, uint8_t *, int,
                            int, int);
// A libyuv conversion of packed pixels to what libyuv calls ARGB (bytes B, G, R, A).
using ToArgb = int (*)(const uint8_t *, int, uint8_t *, int, int, int);

// The libyuv conversions of an RGB format. The matrix is BT.601 in both.
struct RgbConversions {
  ToPlanar420 to_limited;  // 16..235
  ToPlanar420 to_full;     // 0..255; null if it takes two steps, the first being to_argb
  ToArgb to_argb;          // null if it is not needed
};

enum class PixelKind { kRgb, kNv12, kI420 };

constexpr size_t kMaxPlanes = 3;

// A DRM format.
struct PixelFormat {
  uint32_t fourcc;
  const char *name;  // GStreamer's, i.e. by the order of bytes in memory
  uint32_t planes;
  std::array<PlaneShape, kMaxPlanes> shapes;  // of which `planes` count
  PixelKind kind;
  RgbConversions rgb;  // of kRgb

  bool is_rgb() const { return kind == PixelKind::kRgb; }
};

// The formats of proto/formats.ts, in that order.
std::span<const PixelFormat> PixelFormats();

// Null when the format is not in the table.
const PixelFormat *FindPixelFormat(uint32_t fourcc);

}  // namespace vsockenc
