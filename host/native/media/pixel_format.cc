#include "pixel_format.h"

#include <libyuv/convert.h>
#include <libyuv/convert_from_argb.h>

#include <algorithm>
#include <array>

namespace vsockenc {
namespace {

// As fourcc_code() of drm_fourcc.h.
constexpr uint32_t Fourcc(const char (&code)[5]) {
  return static_cast<uint32_t>(code[0]) | static_cast<uint32_t>(code[1]) << 8 |
         static_cast<uint32_t>(code[2]) << 16 | static_cast<uint32_t>(code[3]) << 24;
}

// DRM and libyuv both name a format by the little-endian word (ARGB is the word 0xAARRGGBB),
// GStreamer by the bytes in memory (BGRA). Alpha is not encoded, so both of a pair are one.
constexpr std::array kFormats{
    PixelFormat{Fourcc("XR24"), "BGRx", 1, 4, libyuv::ARGBToI420, libyuv::ARGBToJ420},
    PixelFormat{Fourcc("AR24"), "BGRA", 1, 4, libyuv::ARGBToI420, libyuv::ARGBToJ420},
    PixelFormat{Fourcc("XB24"), "RGBx", 1, 4, libyuv::ABGRToI420, libyuv::ABGRToJ420},
    PixelFormat{Fourcc("AB24"), "RGBA", 1, 4, libyuv::ABGRToI420, libyuv::ABGRToJ420},
};

}  // namespace

std::span<const PixelFormat> PixelFormats() {
  return kFormats;
}

const PixelFormat *FindPixelFormat(uint32_t fourcc) {
  const auto found = std::ranges::find(kFormats, fourcc, &PixelFormat::fourcc);
  return found == kFormats.end() ? nullptr : &*found;
}

}  // namespace vsockenc
