#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "../../../../proto/gen/c/vsockenc-limits.h"
#include "../memory/resource_memory.h"
#include "../memory/staging.h"

namespace vsockenc {

// One plane of a format: each sample has `bytes` bytes and covers `horizontal` x `vertical` pixels.
struct PlaneShape {
  uint32_t bytes;
  uint32_t horizontal;
  uint32_t vertical;

  // An incomplete sample at an odd edge counts as a whole one.
  constexpr uint64_t RowBytes(uint64_t width) const {
    return (width + horizontal - 1) / horizontal * bytes;
  }
  constexpr uint64_t Rows(uint64_t height) const { return (height + vertical - 1) / vertical; }
};

// A libyuv conversion of packed pixels to three planes of 4:2:0: source, stride, then pointer and
// stride of Y, U and V, then width and height. Odd sizes give (width + 1) / 2 columns of chroma.
using ToPlanar420 = int (*)(const uint8_t *, int, uint8_t *, int, uint8_t *, int, uint8_t *, int,
                            int, int);
// A libyuv conversion of packed pixels to what libyuv calls ARGB (bytes B, G, R, A).
using ToArgb = int (*)(const uint8_t *, int, uint8_t *, int, int, int);

// The libyuv conversions of an RGB format. The matrix is BT.601 in both.
struct RgbConversions {
  ToPlanar420 to_limited;  // 16..235
  ToPlanar420 to_full;     // 0..255; null if it takes two steps, the first being to_argb
  ToArgb to_argb;          // null if it is not needed
};

enum class PixelKind { kRgb, kNv12, kI420 };

constexpr size_t kMaxPlanes = 3;

// A DRM format.
struct PixelFormat {
  uint32_t fourcc;
  const char *name;  // GStreamer's, i.e. by the order of bytes in memory
  uint32_t planes;
  std::array<PlaneShape, kMaxPlanes> shapes;  // of which `planes` count
  PixelKind kind;
  RgbConversions rgb;  // of kRgb

  bool is_rgb() const { return kind == PixelKind::kRgb; }
};

// The formats of proto/formats.ts, in that order.
std::span<const PixelFormat> PixelFormats();

// Null when the format is not in the table.
const PixelFormat *FindPixelFormat(uint32_t fourcc);

constexpr uint64_t kMaxDimension = VSOCKENC_MAX_DIMENSION;
// Sixteen times the widest row at four bytes a pixel. Far below 2^31, because libyuv uses int.
constexpr uint64_t kMaxStride = uint64_t{1} << 20;

struct Rectangle {
  uint64_t x;
  uint64_t y;
  uint64_t width;
  uint64_t height;
};

struct PlaneLayout {
  size_t resource;  // index of the resource that the plane lies in
  uint64_t offset;  // of the first pixel, in bytes
  uint64_t stride;  // from row to row, in bytes
};

// A picture as the guest describes it: untrusted.
struct PictureLayout {
  uint64_t width;
  uint64_t height;
  uint64_t fourcc;
  std::vector<PlaneLayout> planes;
  Rectangle visible;  // the part that is encoded
};

// Checks all parts of a layout that do not depend on memory. Throws PictureError.
const PixelFormat &CheckLayout(const PictureLayout &layout);

// The bytes that each resource needs for its planes: the whole planes must lie within `available`
// bytes. Throws PictureError when they do not, and for a resource without a plane. `layout` must
// have passed CheckLayout.
std::vector<uint64_t> NeededBytes(const PictureLayout &layout, const PixelFormat &format,
                                  std::span<const uint64_t> available);

// Offset of the first visible sample of a plane in its resource.
uint64_t FirstVisible(const PictureLayout &layout, const PixelFormat &format, size_t plane);

// The bytes of a resource from its first to its last visible sample, including whole rows between.
ByteRange VisibleBytes(const PictureLayout &layout, const PixelFormat &format, size_t resource);

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
// (GatheredMemory). Its runs and the staging memory of its reads are the budget's.
class Picture {
 public:
  // `resources` holds the extents of each resource that the planes name. Throws PictureError.
  Picture(const PictureLayout &layout, const std::vector<std::vector<Extent>> &resources,
          std::shared_ptr<Budget> budget);
  // A picture in the given memory, which every plane names as resource 0. `surface` is null or an
  // IOSurface with exactly this picture that lives as long as the memory. Throws PictureError.
  Picture(const PictureLayout &layout, std::unique_ptr<PixelMemory> memory, const Surface *surface,
          std::shared_ptr<Budget> budget);
  // An inline picture, filled by Write(): every plane names resource 0. Throws PictureError.
  Picture(const PictureLayout &layout, std::shared_ptr<Budget> budget);
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
  std::shared_ptr<Budget> budget_;
  std::vector<std::unique_ptr<PixelMemory>> memories_;
  InlineMemory *inline_ = nullptr;  // memories_[0] of an inline picture
  const Surface *surface_ = nullptr;
  std::function<void()> on_unmapped_;
};

}  // namespace vsockenc
