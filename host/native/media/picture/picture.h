#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "../memory/extents.h"
#include "../memory/inline_memory.h"
#include "../memory/pixel_memory.h"
#include "../memory/staging.h"
#include "picture_layout.h"
#include "pixel_format.h"

namespace vsockenc {

class Surface;  // an IOSurface: host/native/videotoolbox/surface.h

// The visible pixels of a picture in linear memory.
struct Pixels {
  struct Plane {
    const uint8_t *data;  // of the first visible sample
    int stride;
  };
  const PixelFormat *format;
  std::array<Plane, kMaxPlanes> planes;  // of which format->planes count
  int width;
  int height;
};

// A layout whose every visible byte has been proved to lie in memory that can be read, and that
// memory. Shared between threads by shared_ptr; the last user unmaps. Immutable, but for what
// Write() does.
//
// Each resource is mapped (LinearMapping) if it can be, and gathered at each read (GatheredMemory)
// if not.
class Picture {
 public:
  // `resources` holds the extents of each resource that the planes name. Throws PictureError.
  Picture(const PictureLayout &layout, const std::vector<std::vector<Extent>> &resources);
  // A picture in memory of one's own, that every plane names as resource 0. `surface` is an
  // IOSurface that lives as long as the memory and holds this picture and no more; it may be null.
  // Throws PictureError.
  Picture(const PictureLayout &layout, std::unique_ptr<PixelMemory> memory, const Surface *surface);
  // A picture whose pixels come by Write(): every plane names resource 0. Throws PictureError.
  explicit Picture(const PictureLayout &layout);
  ~Picture();
  Picture(const Picture &) = delete;
  Picture &operator=(const Picture &) = delete;

  const PixelFormat &format() const { return *format_; }
  // The pixels as they are now, valid while both this and `staging` live and the latter is not used
  // for anything else. Any thread. Throws PictureError.
  Pixels Read(Staging &staging) const;
  // False when the picture is not inline or the bytes are not inside it. No thread may read it.
  bool Write(uint64_t offset, std::span<const uint8_t> bytes);

  // What an encoder that takes IOSurfaces reads instead; null where there is none.
  const Surface *surface() const { return surface_; }

  Tier tier() const;
  size_t runs() const;
  uint64_t bytes() const;

  // Called by whichever thread unmaps the picture, after it has. Set it before giving up a
  // reference.
  void OnUnmapped(std::function<void()> callback) { on_unmapped_ = std::move(callback); }

 private:
  PictureLayout layout_;
  const PixelFormat *format_;
  std::vector<std::unique_ptr<PixelMemory>> memories_;
  InlineMemory *inline_ = nullptr;  // memories_[0], if it is that
  const Surface *surface_ = nullptr;
  std::function<void()> on_unmapped_;
};

}  // namespace vsockenc
