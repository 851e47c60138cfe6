#pragma once

#include <CoreVideo/CoreVideo.h>
#include <IOSurface/IOSurface.h>

#include <cstdint>

#include "../media/picture/pixel_format.h"
#include "cf.h"

namespace vsockenc {

// An IOSurface of another process, found by its number. Surfaces that are looked up so are readable
// by every process of the machine (kIOSurfaceIsGlobal), and nobody but their makers knows when they
// may be drawn into again: a use count says that somebody reads, and that is all the system does.
//
// Immutable; the last user gives it up. Any thread.
class Surface {
 public:
  // Throws PictureError: there is none, or its pixels are not understood.
  explicit Surface(uint32_t id);
  ~Surface();
  Surface(const Surface &) = delete;
  Surface &operator=(const Surface &) = delete;

  uint32_t id() const { return IOSurfaceGetID(surface_.get()); }
  int width() const { return static_cast<int>(IOSurfaceGetWidth(surface_.get())); }
  int height() const { return static_cast<int>(IOSurfaceGetHeight(surface_.get())); }
  const PixelFormat &format() const { return *format_; }
  // Of YUV.
  bool full_range() const { return full_range_; }

  // A new buffer over the surface's memory. Throws PictureError.
  vt::CfRef<CVPixelBufferRef> Buffer() const;

 private:
  vt::CfRef<IOSurfaceRef> surface_;
  const PixelFormat *format_ = nullptr;
  bool full_range_ = false;
};

}  // namespace vsockenc
