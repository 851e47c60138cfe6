// Pictures in memory: where their samples are, and conversion from one to another with libswscale.
#pragma once

#include <CoreVideo/CoreVideo.h>

#include <array>
#include <memory>
#include <optional>
#include <string_view>

extern "C" {
#include <libavutil/pixfmt.h>
}

namespace vt_shim {

struct PlaneLayout {
  size_t width;  // in elements; an element of a second plane may hold two samples
  size_t height;
  size_t element_size;
  size_t stride;  // bytes
  size_t offset;  // bytes
};

struct PixelLayout {
  OSType format;
  size_t width;
  size_t height;
  size_t plane_count;  // 0: packed, and planes[0] is the picture
  std::array<PlaneLayout, 3> planes;
  size_t size;  // bytes
  size_t stored_planes() const { return plane_count == 0 ? 1 : plane_count; }
};

// Rows are padded beyond the 64 bytes that VideoToolbox aligns them to, and planes are apart, so
// that no width happens to make a picture contiguous. nullopt: not a format of CoreVideo.
std::optional<PixelLayout> LayoutOf(OSType format, size_t width, size_t height);

// A packed layout of a foreign format, with rows padded as above.
PixelLayout PackedLayout(OSType format, size_t width, size_t height, size_t element_size);

// Aligned to 64 bytes; filled with 0xa5, which no test takes for a picture.
std::shared_ptr<uint8_t> AllocatePixels(size_t size);

// Of the samples, without padding.
uint64_t Checksum(const PixelLayout &layout, const uint8_t *pixels);

// What libav calls the format of a picture; AV_PIX_FMT_NONE for formats that are not converted.
AVPixelFormat LibavFormat(OSType format);
bool IsBiPlanar(OSType format);   // 420v, 420f
bool IsFullRange(OSType format);  // of YUV

// A picture as libav sees it.
struct Picture {
  Picture(const PixelLayout &layout, uint8_t *pixels);
  Picture(AVPixelFormat pixel_format, bool is_full_range, int columns, int rows)
      : format(pixel_format), full_range(is_full_range), width(columns), height(rows) {}

  AVPixelFormat format;
  bool full_range;
  int width;
  int height;
  uint8_t *data[4] = {};
  int stride[4] = {};
};

// Scales too. `matrix` is a value of kCVImageBufferYCbCrMatrixKey, for RGB sources; BT.601 unless
// it is named. false: this pair of formats is not converted.
bool Convert(const Picture &source, const Picture &destination, std::string_view matrix);

}  // namespace vt_shim
