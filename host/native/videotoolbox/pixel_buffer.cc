#include "pixel_buffer.h"

#include <libyuv/convert_argb.h>
#include <libyuv/planar_functions.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "../../../proto/gen/c/vsockenc-formats.h"
#include "../media/memory/pixel_memory.h"
#include "../media/picture/convert.h"
#include "status.h"

namespace vsockenc::vt {
namespace {

// Conversion of each format to BGRA (libyuv's ARGB, named by the little-endian word); alpha is not
// encoded. A format without an entry does not compile.
constexpr ToArgb kBGRx = libyuv::ARGBCopy;
constexpr ToArgb kBGRA = kBGRx;
constexpr ToArgb kRGBx = libyuv::ABGRToARGB;
constexpr ToArgb kRGBA = kRGBx;
constexpr ToArgb kxRGB = libyuv::BGRAToARGB;
constexpr ToArgb kARGB = kxRGB;
constexpr ToArgb kxBGR = libyuv::RGBAToARGB;
constexpr ToArgb kABGR = kxBGR;
constexpr ToArgb kNV12 = nullptr;
constexpr ToArgb kI420 = nullptr;

struct Packing {
  uint32_t fourcc;
  ToArgb copy;
};
#define FORMAT(name, fourcc, ...) Packing{fourcc, k##name},
constexpr Packing kPackings[] = {VSOCKENC_PIXEL_FORMATS(FORMAT)};
#undef FORMAT

constexpr size_t kPixelBytes = 4;

}  // namespace

LockedBuffer::LockedBuffer(CVPixelBufferRef buffer, CVPixelBufferLockFlags flags)
    : buffer_(buffer), flags_(flags) {
  const CVReturn status = CVPixelBufferLockBaseAddress(buffer, flags);
  if (status != kCVReturnSuccess) {
    throw PictureError(PictureFault::kMapFailed, "cannot lock a pixel buffer: " + Words(status));
  }
}

LockedBuffer::~LockedBuffer() {
  CVPixelBufferUnlockBaseAddress(buffer_, flags_);
}

uint8_t *LockedBuffer::plane(size_t index) const {
  return static_cast<uint8_t *>(CVPixelBufferIsPlanar(buffer_)
                                    ? CVPixelBufferGetBaseAddressOfPlane(buffer_, index)
                                    : CVPixelBufferGetBaseAddress(buffer_));
}

int LockedBuffer::stride(size_t index) const {
  return static_cast<int>(CVPixelBufferIsPlanar(buffer_)
                              ? CVPixelBufferGetBytesPerRowOfPlane(buffer_, index)
                              : CVPixelBufferGetBytesPerRow(buffer_));
}

CfRef<CVPixelBufferRef> NewBuffer(CVPixelBufferPoolRef pool) {
  if (pool == nullptr) throw VideoToolboxError(kVTInvalidSessionErr, "the session has no pool");
  CfRef<CVPixelBufferRef> buffer;
  const CVReturn status =
      CVPixelBufferPoolCreatePixelBuffer(kCFAllocatorDefault, pool, buffer.Out());
  if (status != kCVReturnSuccess) throw VideoToolboxError(status, "a pixel buffer of a pool");
  return buffer;
}

CfRef<CVPixelBufferPoolRef> NewPool(OSType format, int width, int height) {
  const CfRef<CFDictionaryRef> attributes = Dictionary({
      {kCVPixelBufferPixelFormatTypeKey, Number(static_cast<int32_t>(format)).get()},
      {kCVPixelBufferWidthKey, Number(int32_t{width}).get()},
      {kCVPixelBufferHeightKey, Number(int32_t{height}).get()},
      {kCVPixelBufferIOSurfacePropertiesKey, Dictionary({}).get()},
  });
  CfRef<CVPixelBufferPoolRef> pool;
  const CVReturn status =
      CVPixelBufferPoolCreate(kCFAllocatorDefault, nullptr, attributes.get(), pool.Out());
  if (status != kCVReturnSuccess) throw VideoToolboxError(status, "a pool of pixel buffers");
  return pool;
}

void CopyPacked(const Pixels &from, const LockedBuffer &to) {
  const auto *packing = std::ranges::find(kPackings, from.format->fourcc, &Packing::fourcc);
  const auto &[source, stride] = from.planes[0];
  uint8_t *first = to.plane(0);
  const int pitch = to.stride(0);
  if (packing == std::end(kPackings) || packing->copy == nullptr ||
      packing->copy(source, stride, first, pitch, from.width, from.height) != 0) {
    throw std::invalid_argument("libyuv rejected the picture");
  }
  const auto row = [&](int y) { return first + static_cast<ptrdiff_t>(y) * pitch; };
  const size_t bytes = static_cast<size_t>(from.width) * kPixelBytes;
  if (from.width % 2 != 0) {
    for (int y = 0; y < from.height; ++y) {
      std::memcpy(row(y) + bytes, row(y) + bytes - kPixelBytes, kPixelBytes);
    }
  }
  if (from.height % 2 != 0) {
    std::memcpy(row(from.height), row(from.height - 1),
                static_cast<size_t>(RoundUpToEven(from.width)) * kPixelBytes);
  }
}

}  // namespace vsockenc::vt
