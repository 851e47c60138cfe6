#include "pixel_buffer.h"

#include "../media/memory/pixel_memory.h"
#include "status.h"

namespace vsockenc::vt {

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
  Require(CVPixelBufferPoolCreatePixelBuffer(kCFAllocatorDefault, pool, buffer.Out()),
          "a pixel buffer of a pool");
  return buffer;
}

CfRef<CFDictionaryRef> BufferAttributes(OSType format, int width, int height) {
  return Dictionary({
      {kCVPixelBufferPixelFormatTypeKey, Number(static_cast<int32_t>(format)).get()},
      {kCVPixelBufferWidthKey, Number(int32_t{width}).get()},
      {kCVPixelBufferHeightKey, Number(int32_t{height}).get()},
      {kCVPixelBufferIOSurfacePropertiesKey, Dictionary({}).get()},
  });
}

}  // namespace vsockenc::vt
