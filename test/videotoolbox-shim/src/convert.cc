#include "convert.h"

#include <CoreVideo/CVPixelBuffer.h>
#include <libyuv.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace vt_shim {
namespace {

struct ChannelOrder {
  int red;
  int green;
  int blue;
};

ChannelOrder OrderOf(OSType format) {
  switch (format) {
    case kCVPixelFormatType_32BGRA:
      return {2, 1, 0};
    case kCVPixelFormatType_32ARGB:
      return {1, 2, 3};
    case kCVPixelFormatType_32ABGR:
      return {3, 2, 1};
    default:
      return {0, 1, 2};
  }
}

int Stride(const PictureView &picture, size_t plane) {
  return static_cast<int>(picture.stride(plane));
}

void CopyRows(const PictureView &source, const PictureView &destination) {
  for (size_t plane = 0; plane < source.layout.stored_planes(); ++plane) {
    const PlaneLayout &layout = source.layout.planes[plane];
    for (size_t row = 0; row < layout.height; ++row) {
      memcpy(destination.plane(plane) + row * destination.stride(plane),
             source.plane(plane) + row * source.stride(plane), layout.width * layout.element_size);
    }
  }
}

bool Scale(const PictureView &source, const PictureView &destination) {
  const auto filter = libyuv::kFilterBox;
  if (IsRgb(source.layout.format)) {
    return libyuv::ARGBScale(source.plane(0), Stride(source, 0), source.width(), source.height(),
                             destination.plane(0), Stride(destination, 0), destination.width(),
                             destination.height(), filter) == 0;
  }
  if (IsBiPlanar(source.layout.format)) {
    return libyuv::NV12Scale(source.plane(0), Stride(source, 0), source.plane(1), Stride(source, 1),
                             source.width(), source.height(), destination.plane(0),
                             Stride(destination, 0), destination.plane(1), Stride(destination, 1),
                             destination.width(), destination.height(), filter) == 0;
  }
  return libyuv::I420Scale(source.plane(0), Stride(source, 0), source.plane(1), Stride(source, 1),
                           source.plane(2), Stride(source, 2), source.width(), source.height(),
                           destination.plane(0), Stride(destination, 0), destination.plane(1),
                           Stride(destination, 1), destination.plane(2), Stride(destination, 2),
                           destination.width(), destination.height(), filter) == 0;
}

struct Weights {
  double red;
  double blue;
};

// ITU-R BT.709-6 section 3, BT.2020-2 table 4, BT.601-7 section 2.5.1.
Weights WeightsOf(std::string_view matrix) {
  if (matrix == "ITU_R_709_2") {
    return {0.2126, 0.0722};
  }
  if (matrix == "ITU_R_2020") {
    return {0.2627, 0.0593};
  }
  return {0.299, 0.114};
}

uint8_t ToByte(double value) {
  return static_cast<uint8_t>(std::clamp(std::lround(value), 0L, 255L));
}

// Chroma is the mean of two by two pixels.
void RgbToYuv(const PictureView &source, const PictureView &destination, Weights weights) {
  const ChannelOrder order = OrderOf(source.layout.format);
  const bool full = IsFullRange(destination.layout.format);
  const bool bi_planar = IsBiPlanar(destination.layout.format);
  const double luma_scale = full ? 1.0 : 219.0 / 255;
  const double chroma_scale = full ? 1.0 : 224.0 / 255;
  const double offset = full ? 0 : 16;
  const double green_weight = 1 - weights.red - weights.blue;
  const size_t width = source.layout.width;
  const size_t height = source.layout.height;
  for (size_t row = 0; row < height; row += 2) {
    for (size_t column = 0; column < width; column += 2) {
      double blue_difference = 0;
      double red_difference = 0;
      int count = 0;
      for (size_t y = row; y < std::min(row + 2, height); ++y) {
        for (size_t x = column; x < std::min(column + 2, width); ++x) {
          const uint8_t *pixel = source.plane(0) + y * source.stride(0) + 4 * x;
          const double red = pixel[order.red];
          const double blue = pixel[order.blue];
          const double luma =
              weights.red * red + green_weight * pixel[order.green] + weights.blue * blue;
          destination.plane(0)[y * destination.stride(0) + x] = ToByte(offset + luma_scale * luma);
          blue_difference += (blue - luma) / (2 * (1 - weights.blue));
          red_difference += (red - luma) / (2 * (1 - weights.red));
          ++count;
        }
      }
      const uint8_t cb = ToByte(128 + chroma_scale * blue_difference / count);
      const uint8_t cr = ToByte(128 + chroma_scale * red_difference / count);
      uint8_t *chroma = destination.plane(1) + row / 2 * destination.stride(1);
      if (bi_planar) {
        chroma[column] = cb;
        chroma[column + 1] = cr;
      } else {
        chroma[column / 2] = cb;
        destination.plane(2)[row / 2 * destination.stride(2) + column / 2] = cr;
      }
    }
  }
}

// Between full and video range, in place.
void ChangeRange(const PictureView &picture, bool to_full) {
  uint8_t luma[256];
  uint8_t chroma[256];
  for (int value = 0; value < 256; ++value) {
    luma[value] = ToByte(to_full ? (value - 16) * 255.0 / 219 : 16 + value * 219.0 / 255);
    chroma[value] = ToByte(128 + (value - 128) * (to_full ? 255.0 / 224 : 224.0 / 255));
  }
  for (size_t plane = 0; plane < picture.layout.plane_count; ++plane) {
    const PlaneLayout &layout = picture.layout.planes[plane];
    const uint8_t *table = plane == 0 ? luma : chroma;
    for (size_t row = 0; row < layout.height; ++row) {
      uint8_t *bytes = picture.plane(plane) + row * layout.stride;
      std::transform(bytes, bytes + layout.width * layout.element_size, bytes,
                     [table](uint8_t byte) { return table[byte]; });
    }
  }
}

void Relayout(const PictureView &source, const PictureView &destination) {
  if (IsBiPlanar(source.layout.format)) {
    libyuv::NV12ToI420(source.plane(0), Stride(source, 0), source.plane(1), Stride(source, 1),
                       destination.plane(0), Stride(destination, 0), destination.plane(1),
                       Stride(destination, 1), destination.plane(2), Stride(destination, 2),
                       source.width(), source.height());
  } else {
    libyuv::I420ToNV12(source.plane(0), Stride(source, 0), source.plane(1), Stride(source, 1),
                       source.plane(2), Stride(source, 2), destination.plane(0),
                       Stride(destination, 0), destination.plane(1), Stride(destination, 1),
                       source.width(), source.height());
  }
}

}  // namespace

bool IsRgb(OSType format) {
  return format == kCVPixelFormatType_32BGRA || format == kCVPixelFormatType_32ARGB ||
         format == kCVPixelFormatType_32ABGR || format == kCVPixelFormatType_32RGBA;
}
bool IsBiPlanar(OSType format) {
  return format == kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange ||
         format == kCVPixelFormatType_420YpCbCr8BiPlanarFullRange;
}
bool IsFullRange(OSType format) {
  return format == kCVPixelFormatType_420YpCbCr8PlanarFullRange ||
         format == kCVPixelFormatType_420YpCbCr8BiPlanarFullRange;
}
bool IsYuv420(OSType format) {
  return IsBiPlanar(format) || format == kCVPixelFormatType_420YpCbCr8Planar ||
         format == kCVPixelFormatType_420YpCbCr8PlanarFullRange;
}

bool Convert(const PictureView &source, const PictureView &destination, std::string_view matrix) {
  const OSType from = source.layout.format;
  const OSType to = destination.layout.format;
  const bool possible =
      (IsRgb(from) && (from == to || IsYuv420(to))) || (IsYuv420(from) && IsYuv420(to));
  if (!possible) {
    return false;
  }
  if (source.layout.width != destination.layout.width ||
      source.layout.height != destination.layout.height) {
    const auto layout = LayoutOf(from, destination.layout.width, destination.layout.height);
    const auto pixels = AllocatePixels(layout->size);
    const PictureView scaled{*layout, pixels.get()};
    return Scale(source, scaled) && Convert(scaled, destination, matrix);
  }
  if (IsRgb(from) && from != to) {
    RgbToYuv(source, destination, WeightsOf(matrix));
    return true;
  }
  if (IsRgb(from) || IsBiPlanar(from) == IsBiPlanar(to)) {
    CopyRows(source, destination);
  } else {
    Relayout(source, destination);
  }
  if (!IsRgb(from) && IsFullRange(from) != IsFullRange(to)) {
    ChangeRange(destination, IsFullRange(to));
  }
  return true;
}

}  // namespace vt_shim
