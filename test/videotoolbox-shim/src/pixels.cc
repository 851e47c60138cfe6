#include "pixels.h"

#include <cstdlib>
#include <cstring>

#include "object.h"

extern "C" {
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
}

namespace vt_shim {
namespace {

constexpr size_t kAlignment = 64;

size_t RoundUp(size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Element sizes by plane, the chroma planes being half as wide and high; 0 ends the list.
struct Format {
  OSType code;
  AVPixelFormat libav;
  bool full_range;
  bool planar;
  size_t element_sizes[3];
};
constexpr Format kFormats[] = {
    {kCVPixelFormatType_32BGRA, AV_PIX_FMT_BGRA, true, false, {4}},
    {kCVPixelFormatType_32ARGB, AV_PIX_FMT_ARGB, true, false, {4}},
    {kCVPixelFormatType_32ABGR, AV_PIX_FMT_ABGR, true, false, {4}},
    {kCVPixelFormatType_32RGBA, AV_PIX_FMT_RGBA, true, false, {4}},
    {kCVPixelFormatType_64RGBAHalf, AV_PIX_FMT_NONE, true, false, {8}},
    {kCVPixelFormatType_422YpCbCr8, AV_PIX_FMT_NONE, false, false, {2}},
    {kCVPixelFormatType_420YpCbCr8Planar, AV_PIX_FMT_YUV420P, false, true, {1, 1, 1}},
    {kCVPixelFormatType_420YpCbCr8PlanarFullRange, AV_PIX_FMT_YUV420P, true, true, {1, 1, 1}},
    {kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange, AV_PIX_FMT_NV12, false, true, {1, 2}},
    {kCVPixelFormatType_420YpCbCr8BiPlanarFullRange, AV_PIX_FMT_NV12, true, true, {1, 2}},
};

const Format *Find(OSType code) {
  for (const Format &format : kFormats) {
    if (format.code == code) return &format;
  }
  return nullptr;
}

bool IsRgb(AVPixelFormat format) {
  return (av_pix_fmt_desc_get(format)->flags & AV_PIX_FMT_FLAG_RGB) != 0;
}

int Coefficients(std::string_view matrix) {
  return matrix == "ITU_R_709_2"  ? SWS_CS_ITU709
         : matrix == "ITU_R_2020" ? SWS_CS_BT2020
                                  : SWS_CS_ITU601;
}

}  // namespace

std::optional<PixelLayout> LayoutOf(OSType code, size_t width, size_t height) {
  const Format *format = Find(code);
  if (format == nullptr) return std::nullopt;
  if (!format->planar) return PackedLayout(code, width, height, format->element_sizes[0]);
  PixelLayout layout{code, width, height, 0, {}, 0};
  for (const size_t element_size : format->element_sizes) {
    if (element_size == 0) break;
    const size_t divisor = layout.plane_count == 0 ? 1 : 2;
    PlaneLayout &plane = layout.planes[layout.plane_count++];
    plane.width = (width + divisor - 1) / divisor;
    plane.height = (height + divisor - 1) / divisor;
    plane.element_size = element_size;
    plane.stride = RoundUp(plane.width * element_size) + kAlignment;
    plane.offset = layout.size;
    layout.size += plane.stride * plane.height + kAlignment;
  }
  return layout;
}

PixelLayout PackedLayout(OSType format, size_t width, size_t height, size_t element_size) {
  const size_t stride = RoundUp(width * element_size) + kAlignment;
  return {format, width, height, 0, {{{width, height, element_size, stride, 0}}}, stride * height};
}

std::shared_ptr<uint8_t> AllocatePixels(size_t size) {
  auto *bytes = static_cast<uint8_t *>(std::aligned_alloc(kAlignment, RoundUp(size)));
  memset(bytes, 0xa5, RoundUp(size));
  return {bytes, free};
}

uint64_t Checksum(const PixelLayout &layout, const uint8_t *pixels) {
  uint64_t sum = 0xcbf29ce484222325;
  for (size_t index = 0; index < layout.stored_planes(); ++index) {
    const PlaneLayout &plane = layout.planes[index];
    const size_t row_size = plane.width * plane.element_size;
    for (size_t row = 0; row < plane.height; ++row) {
      const uint8_t *bytes = pixels + plane.offset + row * plane.stride;
      for (size_t at = 0; at < row_size; at += sizeof(uint64_t)) {
        uint64_t word = 0;
        memcpy(&word, bytes + at, std::min(sizeof word, row_size - at));
        sum = (sum ^ word) * 0x100000001b3;
      }
    }
  }
  return sum;
}

AVPixelFormat LibavFormat(OSType code) {
  const Format *format = Find(code);
  return format == nullptr ? AV_PIX_FMT_NONE : format->libav;
}

bool IsBiPlanar(OSType code) {
  return LibavFormat(code) == AV_PIX_FMT_NV12;
}

bool IsFullRange(OSType code) {
  const Format *format = Find(code);
  return format != nullptr && format->full_range && format->planar;
}

Picture::Picture(const PixelLayout &layout, uint8_t *pixels)
    : Picture(LibavFormat(layout.format), IsFullRange(layout.format),
              static_cast<int>(layout.width), static_cast<int>(layout.height)) {
  for (size_t plane = 0; plane < layout.stored_planes(); ++plane) {
    data[plane] = pixels + layout.planes[plane].offset;
    stride[plane] = static_cast<int>(layout.planes[plane].stride);
  }
}

bool Convert(const Picture &source, const Picture &destination, std::string_view matrix) {
  if (source.format == AV_PIX_FMT_NONE || destination.format == AV_PIX_FMT_NONE ||
      (IsRgb(destination.format) && source.format != destination.format)) {
    return false;
  }
  if (source.format == destination.format && source.full_range == destination.full_range &&
      source.width == destination.width && source.height == destination.height) {
    // libswscale leaves out the chroma of NV12 here.
    av_image_copy(const_cast<uint8_t **>(destination.data), const_cast<int *>(destination.stride),
                  const_cast<const uint8_t **>(source.data), source.stride, source.format,
                  source.width, source.height);
    return true;
  }
  SwsContext *context = sws_alloc_context();
  const std::pair<const char *, int> options[] = {
      {"srcw", source.width},
      {"srch", source.height},
      {"src_format", source.format},
      {"src_range", source.full_range},
      {"dstw", destination.width},
      {"dsth", destination.height},
      {"dst_format", destination.format},
      {"dst_range", destination.full_range},
      {"sws_flags", SWS_AREA | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INP | SWS_BITEXACT},
  };
  for (const auto &[name, value] : options) av_opt_set_int(context, name, value, 0);
  const int *coefficients = sws_getCoefficients(Coefficients(matrix));
  const bool converted =
      sws_init_context(context, nullptr, nullptr) >= 0 &&
      (!IsRgb(source.format) || IsRgb(destination.format) ||
       sws_setColorspaceDetails(context, coefficients, 1, coefficients, destination.full_range, 0,
                                1 << 16, 1 << 16) >= 0) &&
      sws_scale(context, source.data, source.stride, 0, source.height, destination.data,
                destination.stride) == destination.height;
  sws_freeContext(context);
  if (!converted) Violation("the shim's own conversion: libswscale refuses it");
  return true;
}

}  // namespace vt_shim
