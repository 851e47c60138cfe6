#pragma once

#include <cstdint>
#include <vector>

#include "picture.h"

struct AVFrame;

namespace vsockenc {

// Converts the visible part of a picture to an encoder's frame: yuv420p or nv12, in the size of the
// visible part, rounded up to even numbers. It repeats the last column and row, because 4:2:0 can
// only be cropped by pairs of pixels.
//
// RGB: the matrix is always BT.601, the only one of libyuv's public functions (xxxToI420 limited,
// xxxToJ420 full range), and the stream's VUI must state it. Each chroma sample is the mean of its
// four pixels, so it is sited in the middle of them (chroma_loc 1).
//
// NV12 and I420: the samples are copied unchanged, with any matrix and range.
class Converter {
 public:
  // `full_range` is the range that RGB is converted to.
  explicit Converter(bool full_range) : full_range_(full_range) {}

  // Throws std::invalid_argument when the frame has another size or format.
  void Convert(const Pixels &from, AVFrame &frame);

 private:
  int ConvertRgb(const Pixels &from, AVFrame &frame);

  const bool full_range_;
  std::vector<uint8_t> scratch_;  // for a few rows at a time
};

// To an even number.
constexpr int RoundUpToEven(int size) {
  return (size + 1) & ~1;
}

}  // namespace vsockenc
