#pragma once

#include <CoreVideo/CoreVideo.h>
#include <IOSurface/IOSurface.h>

#include <cstdint>
#include <memory>

#include "../media/picture/picture.h"
#include "cf.h"

namespace vsockenc {

// An IOSurface of another process, looked up by id. Such surfaces are readable by every process of
// the machine (kIOSurfaceIsGlobal). The use count tells the surface's owner that it is being read;
// the system itself does not synchronise readers and writers.
//
// Immutable, for any thread.
class Surface {
 public:
  // Throws PictureError for an id that cannot be found, and for unsupported pixels.
  explicit Surface(uint32_t id);
  ~Surface();
  Surface(const Surface &) = delete;
  Surface &operator=(const Surface &) = delete;

  uint32_t id() const { return IOSurfaceGetID(surface_.get()); }
  int width() const { return static_cast<int>(IOSurfaceGetWidth(surface_.get())); }
  int height() const { return static_cast<int>(IOSurfaceGetHeight(surface_.get())); }
  const PixelFormat &format() const { return *format_; }
  bool full_range() const { return full_range_; }  // of YUV

  // A new buffer over the surface's memory. Throws PictureError.
  vt::CfRef<CVPixelBufferRef> Buffer() const;

 private:
  vt::CfRef<IOSurfaceRef> surface_;
  const PixelFormat *format_ = nullptr;
  bool full_range_ = false;
};

// A surface's pixels as memory: rows without padding, plane after plane. Each read copies them,
// because a surface's memory is accessible only while it is locked, and locking makes the GPU's
// drawing visible. An encoder of VideoToolbox reads the surface itself (Picture::surface).
class SurfaceMemory : public PixelMemory {
 public:
  // Throws PictureError when the staging memory is exhausted.
  explicit SurfaceMemory(std::unique_ptr<const Surface> surface);

  const Surface &surface() const { return *surface_; }
  // The planes' positions in the bytes.
  const std::vector<PlaneLayout> &planes() const { return planes_; }

  Tier tier() const override { return Tier::kResourceGather; }
  uint64_t begin() const override { return 0; }
  uint64_t bytes() const override { return bytes_; }
  size_t runs() const override { return 1; }
  uint64_t staging_bytes() const override { return bytes_; }
  const uint8_t *Read(uint8_t *staging) const override;

 private:
  std::unique_ptr<const Surface> surface_;
  std::vector<PlaneLayout> planes_;
  uint64_t bytes_ = 0;
};

// The picture in the surface of this id. The layout must have the surface's size and format (alpha
// or none is the same). Its rows are those of the guest's memory and are replaced by the surface's.
// Throws PictureError.
std::shared_ptr<Picture> PictureOfSurface(PictureLayout layout, uint32_t id,
                                          std::shared_ptr<Budget> budget);

}  // namespace vsockenc
