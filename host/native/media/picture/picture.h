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

struct Checksum {
  uint32_t crc;    // CRC-32 (IEEE 802.3)
  uint64_t bytes;  // number of bytes in it
};

// Of the visible pixels: each plane's rows without padding, top to bottom, plane after plane
// (Probed in proto/buffer.proto).
Checksum ChecksumOf(const Pixels &pixels);

// A layout and its memory, of which every visible byte has been checked to be readable. Threads
// share it by shared_ptr; the last user unmaps it. Immutable except for Write().
//
// Each resource is mapped (LinearMapping) if possible, otherwise gathered at each read
// (GatheredMemory).
class Picture {
 public:
  // `resources` holds the extents of each resource that the planes name. Throws PictureError.
  Picture(const PictureLayout &layout, const std::vector<std::vector<Extent>> &resources);
  // A picture in the given memory, which every plane names as resource 0. `surface` is null or an
  // IOSurface with exactly this picture that lives as long as the memory. Throws PictureError.
  Picture(const PictureLayout &layout, std::unique_ptr<PixelMemory> memory, const Surface *surface);
  // An inline picture, filled by Write(): every plane names resource 0. Throws PictureError.
  explicit Picture(const PictureLayout &layout);
  ~Picture();
  Picture(const Picture &) = delete;
  Picture &operator=(const Picture &) = delete;

  const PixelFormat &format() const { return *format_; }
  // The current pixels, valid while both this and `staging` live and `staging` is not reused. Any
  // thread. Throws PictureError.
  Pixels Read(Staging &staging) const;
  // False when the picture is not inline or does not have those bytes. No thread may read it.
  bool Write(uint64_t offset, std::span<const uint8_t> bytes);

  // For an encoder that reads IOSurfaces; may be null.
  const Surface *surface() const { return surface_; }

  Tier tier() const;
  size_t runs() const;
  uint64_t bytes() const;

  // Called after the picture is unmapped, by the thread that did it. Set it before releasing a
  // reference.
  void OnUnmapped(std::function<void()> callback) { on_unmapped_ = std::move(callback); }

 private:
  PictureLayout layout_;
  const PixelFormat *format_;
  std::vector<std::unique_ptr<PixelMemory>> memories_;
  InlineMemory *inline_ = nullptr;  // memories_[0] of an inline picture
  const Surface *surface_ = nullptr;
  std::function<void()> on_unmapped_;
};

}  // namespace vsockenc
