#include "pixel_format.h"

#include <libyuv/convert.h>
#include <libyuv/convert_argb.h>
#include <libyuv/convert_from_argb.h>

#include <algorithm>

#include "../../../../proto/gen/c/vsockenc-formats.h"

namespace vsockenc {
namespace {

struct Reading {
  PixelKind kind;
  RgbConversions rgb;
};

// The conversion of each format in the generated table; a missing entry does not compile.
//
// libyuv names a format by the little-endian word, as DRM does (ARGB is the word 0xAARRGGBB),
// GStreamer by the bytes in memory (BGRA). Alpha is not encoded, so both formats of a pair are the
// same.
constexpr Reading kBGRx{PixelKind::kRgb, {libyuv::ARGBToI420, libyuv::ARGBToJ420, nullptr}};
constexpr Reading kBGRA = kBGRx;
constexpr Reading kRGBx{PixelKind::kRgb, {libyuv::ABGRToI420, libyuv::ABGRToJ420, nullptr}};
constexpr Reading kRGBA = kRGBx;
constexpr Reading kxRGB{PixelKind::kRgb, {libyuv::BGRAToI420, nullptr, libyuv::BGRAToARGB}};
constexpr Reading kARGB = kxRGB;
constexpr Reading kxBGR{PixelKind::kRgb, {libyuv::RGBAToI420, nullptr, libyuv::RGBAToARGB}};
constexpr Reading kABGR = kxBGR;
constexpr Reading kNV12{PixelKind::kNv12, {}};
constexpr Reading kI420{PixelKind::kI420, {}};

#define FORMAT(name, fourcc, planes, b0, h0, v0, b1, h1, v1, b2, h2, v2)                      \
  PixelFormat{fourcc,       #name,      planes, {{{b0, h0, v0}, {b1, h1, v1}, {b2, h2, v2}}}, \
              k##name.kind, k##name.rgb},
constexpr PixelFormat kFormats[] = {VSOCKENC_PIXEL_FORMATS(FORMAT)};
#undef FORMAT

}  // namespace

std::span<const PixelFormat> PixelFormats() {
  return kFormats;
}

const PixelFormat *FindPixelFormat(uint32_t fourcc) {
  const auto *found = std::ranges::find(kFormats, fourcc, &PixelFormat::fourcc);
  return found == std::end(kFormats) ? nullptr : found;
}

}  // namespace vsockenc
