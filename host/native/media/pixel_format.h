#pragma once

#include <cstdint>
#include <span>

namespace vsockenc {

// A libyuv conversion of packed pixels to three planes of 4:2:0: source, stride, then pointer and
// stride of Y, U and V, then width and height. Odd sizes give (width + 1) / 2 columns of chroma.
using ToPlanar420 = int (*)(const uint8_t *, int, uint8_t *, int, uint8_t *, int, uint8_t *, int,
                            int, int);

// What the host knows of a DRM format.
struct PixelFormat {
  uint32_t fourcc;
  const char *name;  // in GStreamer's words, i.e. by the order of bytes in memory
  uint32_t planes;
  uint32_t bytes_per_pixel;
  ToPlanar420 to_limited;  // BT.601 matrix, 16..235
  ToPlanar420 to_full;     // BT.601 matrix, 0..255
};

// The table of formats: a new one is a line here.
std::span<const PixelFormat> PixelFormats();

// Null when the format is not in the table.
const PixelFormat *FindPixelFormat(uint32_t fourcc);

}  // namespace vsockenc
