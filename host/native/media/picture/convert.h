#pragma once

#include <cstdint>
#include <vector>

#include "picture.h"

struct AVFrame;

namespace vsockenc {

// Writes the visible part of a picture into a frame that an encoder takes: yuv420p or nv12, whose
// size is that of the visible part, rounded up to even numbers. The last column and row are
// repeated, because 4:2:0 can only be cropped by pairs of pixels.
//
// RGB: the matrix is always BT.601, the only one that libyuv's public functions have
// (xxxToI420 limited, xxxToJ420 full range); the stream's VUI has to say so. Each chroma sample is
// the mean of its four pixels, so it is sited in the middle of them (chroma_loc 1).
//
// NV12 and I420: the samples as they are, whatever their matrix and range.
class Converter {
 public:
  // `full_range` is what RGB becomes.
  explicit Converter(bool full_range) : full_range_(full_range) {}

  // Throws std::invalid_argument when the frame has another size, or a format that no encoder
  // takes.
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
