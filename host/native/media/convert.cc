#include "convert.h"

#include <cstring>
#include <stdexcept>

extern "C" {
#include <libavutil/frame.h>
}

namespace vsockenc {

void ConvertTo420(const Picture &picture, bool full_range, AVFrame &frame) {
  const PackedPixels from = picture.pixels();
  if (frame.width != RoundUpToEven(from.width) || frame.height != RoundUpToEven(from.height)) {
    throw std::invalid_argument("the picture's size is not that of the encoder");
  }
  const PixelFormat &format = picture.format();
  const ToPlanar420 convert = full_range ? format.to_full : format.to_limited;
  if (convert(from.data, from.stride, frame.data[0], frame.linesize[0], frame.data[1],
              frame.linesize[1], frame.data[2], frame.linesize[2], from.width, from.height) != 0) {
    throw std::invalid_argument("libyuv refuses the picture");
  }
  // libyuv has averaged the chroma of an odd edge over the pixels that exist, which is what
  // repeating them gives; luma is left.
  uint8_t *luma = frame.data[0];
  if (from.width % 2 != 0) {
    for (int y = 0; y < from.height; ++y) {
      uint8_t *row = luma + static_cast<ptrdiff_t>(y) * frame.linesize[0];
      row[from.width] = row[from.width - 1];
    }
  }
  if (from.height % 2 != 0) {
    uint8_t *last = luma + static_cast<ptrdiff_t>(from.height - 1) * frame.linesize[0];
    std::memcpy(last + frame.linesize[0], last, static_cast<size_t>(frame.width));
  }
}

}  // namespace vsockenc
