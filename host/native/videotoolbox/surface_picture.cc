#include "surface_picture.h"

#include <libyuv/planar_functions.h>

#include <algorithm>
#include <string>
#include <utility>

#include "../media/memory/picture_error.h"
#include "pixel_buffer.h"

namespace vsockenc {
namespace {

// A name of the format table with A for a byte that is alpha or unused: neither is encoded.
std::string ByteOrder(const PixelFormat &format) {
  std::string name = format.name;
  std::ranges::replace(name, 'x', 'A');
  return name;
}

std::string Describe(uint64_t width, uint64_t height, const PixelFormat &format) {
  return std::to_string(width) + "x" + std::to_string(height) + " " + format.name;
}

void CheckAgrees(const PictureLayout &layout, const PixelFormat &format, const Surface &surface) {
  const auto width = static_cast<uint64_t>(surface.width());
  const auto height = static_cast<uint64_t>(surface.height());
  if (layout.width == width && layout.height == height &&
      ByteOrder(format) == ByteOrder(surface.format())) {
    return;
  }
  throw PictureError(PictureFault::kInvalidLayout,
                     "the picture is said to be " + Describe(layout.width, layout.height, format) +
                         ", IOSurface " + std::to_string(surface.id()) + " is " +
                         Describe(width, height, surface.format()));
}

bool IsWhole(const PictureLayout &layout) {
  return layout.visible.width == layout.width && layout.visible.height == layout.height;
}

}  // namespace

SurfaceMemory::SurfaceMemory(std::unique_ptr<const Surface> surface)
    : surface_(std::move(surface)) {
  const PixelFormat &format = surface_->format();
  for (size_t i = 0; i < format.planes; ++i) {
    const uint64_t row = format.shapes[i].RowBytes(static_cast<uint64_t>(surface_->width()));
    planes_.push_back({.resource = 0, .offset = bytes_, .stride = row});
    bytes_ += row * format.shapes[i].Rows(static_cast<uint64_t>(surface_->height()));
  }
  Staging::CheckSize(bytes_);
}

const uint8_t *SurfaceMemory::Read(uint8_t *staging) const {
  const vt::CfRef<CVPixelBufferRef> buffer = surface_->Buffer();
  const vt::LockedBuffer locked(buffer.get(), kCVPixelBufferLock_ReadOnly);
  const PixelFormat &format = surface_->format();
  for (size_t i = 0; i < planes_.size(); ++i) {
    const auto [resource, offset, stride] = planes_[i];
    const auto row = static_cast<int>(stride);
    const auto rows =
        static_cast<int>(format.shapes[i].Rows(static_cast<uint64_t>(surface_->height())));
    libyuv::CopyPlane(locked.plane(i), locked.stride(i), staging + offset, row, row, rows);
  }
  return staging;
}

std::shared_ptr<Picture> PictureOfSurface(PictureLayout layout, uint32_t id) {
  auto memory = std::make_unique<SurfaceMemory>(std::make_unique<const Surface>(id));
  const Surface &surface = memory->surface();
  CheckAgrees(layout, CheckLayout(layout), surface);
  layout.planes = memory->planes();
  const Surface *whole = IsWhole(layout) ? &surface : nullptr;
  return std::make_shared<Picture>(layout, std::move(memory), whole);
}

}  // namespace vsockenc
