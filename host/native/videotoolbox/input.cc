#include "input.h"

#include <libyuv/convert_argb.h>
#include <libyuv/planar_functions.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "../../../proto/gen/c/vsockenc-formats.h"
#include "../media/encoder/libav.h"
#include "../media/memory/pixel_memory.h"
#include "pixel_buffer.h"
#include "status.h"
#include "surface.h"

extern "C" {
#include <libavutil/frame.h>
#include <libavutil/pixfmt.h>
}

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

// Copies RGB of any order into a locked buffer of BGRA, whose size is that of the picture, rounded
// up to even numbers, and repeats the last column and row. Throws std::invalid_argument.
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

// Empty when none can be created.
CfRef<VTPixelTransferSessionRef> NewTransfer(const Settings &settings) {
  CfRef<VTPixelTransferSessionRef> session;
  if (VTPixelTransferSessionCreate(kCFAllocatorDefault, session.Out()) != noErr) return {};
  // The buffers' tags are the same; they decide where a property or colour is not supported.
  const ColourNames colour = NamesOf(settings.colour);
  VTSessionSetProperty(session.get(), kVTPixelTransferPropertyKey_RealTime, kCFBooleanTrue);
  VTSessionSetProperty(session.get(), kVTPixelTransferPropertyKey_DestinationColorPrimaries,
                       colour.primaries);
  VTSessionSetProperty(session.get(), kVTPixelTransferPropertyKey_DestinationTransferFunction,
                       colour.transfer);
  VTSessionSetProperty(session.get(), kVTPixelTransferPropertyKey_DestinationYCbCrMatrix,
                       colour.matrix);
  return session;
}

bool IsEven(int width, int height) {
  return width % 2 == 0 && height % 2 == 0;
}

}  // namespace

Input::Input(const Settings &settings)
    : settings_(settings), converter_(settings.colour.full_range) {}

Input::~Input() {
  if (transfer_) VTPixelTransferSessionInvalidate(transfer_.get());
}

CfRef<CVPixelBufferRef> Input::Prepare(const FrameSource &source, CVPixelBufferPoolRef pool) {
  if (const auto *surface = std::get_if<std::shared_ptr<const Surface>>(&source)) {
    return FromSurface(**surface, pool);
  }
  return FromPixels(std::get<std::shared_ptr<const Picture>>(source)->Read(staging_), pool);
}

CfRef<CVPixelBufferRef> Input::FromPixels(const Pixels &pixels, CVPixelBufferPoolRef pool) {
  CheckSize(pixels.width, pixels.height);
  CfRef<CVPixelBufferRef> buffer = NewBuffer(pool);
  Tag(buffer.get(), settings_);
  const bool transferred =
      transfers_ && pixels.format->is_rgb() && Transfer(Packed(pixels).get(), buffer.get());
  if (!transferred) Convert(pixels, buffer.get());
  return buffer;
}

CfRef<CVPixelBufferRef> Input::FromSurface(const Surface &surface, CVPixelBufferPoolRef pool) {
  CheckSize(surface.width(), surface.height());
  const PixelFormat &format = surface.format();
  if (format.is_rgb() != settings_.rgb) {
    throw PictureError(PictureFault::kUnsupportedFormat,
                       "IOSurface " + std::to_string(surface.id()) + " has " + format.name +
                           " pixels; the session is configured for " +
                           (settings_.rgb ? "RGB" : "YUV"));
  }
  CfRef<CVPixelBufferRef> buffer = NewBuffer(pool);
  Tag(buffer.get(), settings_);
  const CfRef<CVPixelBufferRef> shared = surface.Buffer();
  // VideoToolbox would scale another size than the encoder's.
  const bool may_transfer = transfers_ && IsEven(surface.width(), surface.height());
  if (may_transfer && Transfer(shared.get(), buffer.get())) return buffer;

  if (!format.is_rgb() && surface.full_range() != settings_.colour.full_range) {
    throw PictureError(PictureFault::kUnsupportedFormat,
                       "IOSurface " + std::to_string(surface.id()) +
                           " has samples of another range than configured, and VideoToolbox "
                           "cannot convert them");
  }
  const LockedBuffer locked(shared.get(), kCVPixelBufferLock_ReadOnly);
  Pixels pixels{
      .format = &format, .planes = {}, .width = surface.width(), .height = surface.height()};
  for (size_t i = 0; i < format.planes; ++i) pixels.planes[i] = {locked.plane(i), locked.stride(i)};
  Convert(pixels, buffer.get());
  return buffer;
}

CfRef<CVPixelBufferRef> Input::Packed(const Pixels &pixels) {
  if (!packed_pool_) {
    const auto attributes = BufferAttributes(
        kCVPixelFormatType_32BGRA, RoundUpToEven(settings_.width), RoundUpToEven(settings_.height));
    Require(
        CVPixelBufferPoolCreate(kCFAllocatorDefault, nullptr, attributes.get(), packed_pool_.Out()),
        "a pool of pixel buffers");
  }
  CfRef<CVPixelBufferRef> packed = NewBuffer(packed_pool_.get());
  Tag(packed.get(), settings_);
  CopyPacked(pixels, LockedBuffer(packed.get(), 0));
  return packed;
}

bool Input::Transfer(CVPixelBufferRef from, CVPixelBufferRef to) {
  if (!transfer_) transfer_ = NewTransfer(settings_);
  if (!transfer_) return false;
  const OSStatus status = VTPixelTransferSessionTransferImage(transfer_.get(), from, to);
  if (status == noErr) return true;
  // Otherwise the session may be invalid; the next frame gets a new one.
  if (status == kVTPixelTransferNotSupportedErr) transfers_ = false;
  VTPixelTransferSessionInvalidate(transfer_.get());
  transfer_ = {};
  return false;
}

void Input::Convert(const Pixels &from, CVPixelBufferRef to) {
  const LockedBuffer locked(to, 0);
  const FramePointer frame(av_frame_alloc());
  if (!frame) throw VideoToolboxError(kVTAllocationFailedErr, "a frame");
  frame->format = AV_PIX_FMT_NV12;
  frame->width = RoundUpToEven(settings_.width);
  frame->height = RoundUpToEven(settings_.height);
  for (int i = 0; i < 2; ++i) {
    frame->data[i] = locked.plane(static_cast<size_t>(i));
    frame->linesize[i] = locked.stride(static_cast<size_t>(i));
  }
  converter_.Convert(from, *frame);
}

void Input::CheckSize(int width, int height) const {
  if (width == settings_.width && height == settings_.height) return;
  throw PictureError(PictureFault::kInvalidLayout,
                     "the frame is " + std::to_string(width) + "x" + std::to_string(height) +
                         ", the session is configured for " + std::to_string(settings_.width) +
                         "x" + std::to_string(settings_.height));
}

CfRef<CVPixelBufferRef> Input::Black(CVPixelBufferPoolRef pool) const {
  CfRef<CVPixelBufferRef> buffer = NewBuffer(pool);
  Tag(buffer.get(), settings_);
  const LockedBuffer locked(buffer.get(), 0);
  const auto rows = static_cast<size_t>(RoundUpToEven(settings_.height));
  const int black = settings_.colour.full_range ? 0 : 16;
  std::memset(locked.plane(0), black, static_cast<size_t>(locked.stride(0)) * rows);
  std::memset(locked.plane(1), 128, static_cast<size_t>(locked.stride(1)) * rows / 2);
  return buffer;
}

}  // namespace vsockenc::vt
