#pragma once

#include <CoreVideo/CoreVideo.h>

#include "../media/picture/picture.h"
#include "cf.h"

struct AVFrame;

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

// A pool of buffers that VideoToolbox can read in another process. Throws VideoToolboxError.
CfRef<CVPixelBufferPoolRef> NewPool(OSType format, int width, int height);

// Copies RGB of any order into a locked buffer of BGRA, whose size is that of the picture, rounded
// up to even numbers, and repeats the last column and row. Throws std::invalid_argument.
void CopyPacked(const Pixels &from, const LockedBuffer &to);

}  // namespace vsockenc::vt
