#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "../../../proto/gen/c/vsockenc-limits.h"
#include "linear_mapping.h"
#include "pixel_format.h"

namespace vsockenc {

struct Rectangle {
  uint64_t x;
  uint64_t y;
  uint64_t width;
  uint64_t height;
};

struct PlaneLayout {
  size_t resource;  // index into the extents lists
  uint64_t offset;  // of the first pixel, in bytes
  uint64_t stride;  // from row to row, in bytes
};

// A picture as the guest described it: nothing of it is trusted.
struct PictureLayout {
  uint64_t width;
  uint64_t height;
  uint64_t fourcc;
  std::vector<PlaneLayout> planes;
  Rectangle visible;  // the part that is encoded
};

// The plane of a packed picture, from its first visible pixel on.
struct PackedPixels {
  const uint8_t *data;
  int stride;
  int width;
  int height;
};

// A layout whose every visible byte has been proved to lie in mapped memory, and that memory.
// Immutable, shared between threads by shared_ptr; the last user unmaps.
class Picture {
 public:
  static constexpr uint64_t kMaxDimension = VSOCKENC_MAX_DIMENSION;
  // Sixteen times the widest row of four bytes a pixel. Far below 2^31, because libyuv computes
  // with int.
  static constexpr uint64_t kMaxStride = uint64_t{1} << 20;

  // `resources` holds the extents of each resource that the planes name. Throws PictureError.
  Picture(const PictureLayout &layout, const std::vector<std::vector<Extent>> &resources);
  ~Picture();
  Picture(const Picture &) = delete;
  Picture &operator=(const Picture &) = delete;

  const PixelFormat &format() const { return *format_; }
  PackedPixels pixels() const;
  size_t runs() const;
  uint64_t bytes() const;

  // Called by whichever thread unmaps the picture, after it has. Set it before giving up a
  // reference.
  void OnUnmapped(std::function<void()> callback) { on_unmapped_ = std::move(callback); }

 private:
  PictureLayout layout_;
  const PixelFormat *format_;
  std::vector<std::unique_ptr<LinearMapping>> mappings_;
  std::function<void()> on_unmapped_;
};

}  // namespace vsockenc
