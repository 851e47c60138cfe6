#pragma once

#include <memory>

#include "../media/picture/picture.h"
#include "surface.h"

namespace vsockenc {

// A surface's pixels as memory: rows without padding, plane after plane. They are copied at each
// read, because the memory of a surface may be looked at only while it is locked, and another
// processor's drawing is seen only by locking it again. An encoder of VideoToolbox reads the
// surface itself instead (Picture::surface).
class SurfaceMemory : public PixelMemory {
 public:
  // Throws PictureError when there is not so much staging memory.
  explicit SurfaceMemory(std::unique_ptr<const Surface> surface);

  const Surface &surface() const { return *surface_; }
  // Where the planes lie in the bytes.
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

// The picture in the surface of this number. The layout must have the size and format of the
// surface (alpha or none is the same); where the rows are, the surface itself says: those of the
// layout are the guest's, whose memory the surface is a copy of. Throws PictureError.
std::shared_ptr<Picture> PictureOfSurface(PictureLayout layout, uint32_t id);

}  // namespace vsockenc
