#pragma once

#include <CoreVideo/CoreVideo.h>

#include "cf.h"

namespace vsockenc::vt {

// A buffer's memory, locked.
class LockedBuffer {
 public:
  // Throws PictureError.
  LockedBuffer(CVPixelBufferRef buffer, CVPixelBufferLockFlags flags);
  ~LockedBuffer();
  LockedBuffer(const LockedBuffer &) = delete;
  LockedBuffer &operator=(const LockedBuffer &) = delete;

  uint8_t *plane(size_t index) const;
  int stride(size_t index) const;

 private:
  CVPixelBufferRef buffer_;
  CVPixelBufferLockFlags flags_;
};

// Throws VideoToolboxError; a NULL pool means that its session is invalid.
CfRef<CVPixelBufferRef> NewBuffer(CVPixelBufferPoolRef pool);

// Attributes of buffers that VideoToolbox can read in another process.
CfRef<CFDictionaryRef> BufferAttributes(OSType format, int width, int height);

}  // namespace vsockenc::vt
