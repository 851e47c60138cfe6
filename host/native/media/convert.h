#pragma once

#include "picture.h"

struct AVFrame;

namespace vsockenc {

// Converts the visible part of a picture into a writable yuv420p frame whose size is that of the
// visible part, rounded up to even numbers: the last column and row are repeated, because 4:2:0
// H.264 can only be cropped by pairs of pixels.
//
// The matrix is always BT.601, the only one that libyuv's public functions have for RGB
// (xxxToI420 limited, xxxToJ420 full range); the stream's VUI has to say so. Each chroma
// sample is the mean of its four pixels, so it is sited in the middle of them (chroma_loc 1).
//
// Throws std::invalid_argument when the frame has another size.
void ConvertTo420(const Picture &picture, bool full_range, AVFrame &frame);

// To an even number.
constexpr int RoundUpToEven(int size) {
  return (size + 1) & ~1;
}

}  // namespace vsockenc
