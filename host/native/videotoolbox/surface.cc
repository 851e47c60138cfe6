#include "surface.h"

#include <libyuv/planar_functions.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "../media/memory/pixel_memory.h"
#include "../media/picture/picture.h"
#include "pixel_buffer.h"
#include "status.h"

namespace vsockenc {
namespace {

// Supported types of CoreVideo, with their names in the format table.
struct SurfaceFormat {
  OSType type;
  std::string_view name;
  bool full_range;
};
constexpr SurfaceFormat kFormats[] = {
    {kCVPixelFormatType_32BGRA, "BGRA", false},
    {kCVPixelFormatType_32RGBA, "RGBA", false},
    {kCVPixelFormatType_32ARGB, "ARGB", false},
    {kCVPixelFormatType_32ABGR, "ABGR", false},
    {kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange, "NV12", false},
    {kCVPixelFormatType_420YpCbCr8BiPlanarFullRange, "NV12", true},
};

// The four characters of a type, or its number if they are not printable.
std::string TypeName(OSType type) {
  std::string name;
  for (int shift = 24; shift >= 0; shift -= 8) {
    const char character = static_cast<char>(type >> shift & 0xff);
    if (character < ' ' || character > '~') return std::to_string(type);
    name += character;
  }
  return name;
}

// A name of the format table with A for the alpha or unused byte, which is not encoded.
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
                     "the attached picture is " + Describe(layout.width, layout.height, format) +
                         ", IOSurface " + std::to_string(surface.id()) + " is " +
                         Describe(width, height, surface.format()));
}

bool IsWhole(const PictureLayout &layout) {
  return layout.visible.width == layout.width && layout.visible.height == layout.height;
}

}  // namespace

Surface::Surface(uint32_t id) : surface_(vt::CfRef<IOSurfaceRef>::Adopt(IOSurfaceLookup(id))) {
  const std::string name = "IOSurface " + std::to_string(id);
  if (!surface_) {
    throw PictureError(PictureFault::kMapFailed,
                       name +
                           " cannot be found: its owner has ended, or made it without "
                           "kIOSurfaceIsGlobal");
  }
  const OSType type = IOSurfaceGetPixelFormat(surface_.get());
  const auto *known = std::ranges::find(kFormats, type, &SurfaceFormat::type);
  if (known == std::end(kFormats)) {
    throw PictureError(PictureFault::kUnsupportedFormat,
                       name + " has pixels of type " + TypeName(type) +
                           "; supported: BGRA, RGBA, ARGB, ABGR, 420v, 420f");
  }
  const size_t most =
      std::max(IOSurfaceGetWidth(surface_.get()), IOSurfaceGetHeight(surface_.get()));
  if (most > kMaxDimension) {
    throw PictureError(PictureFault::kInvalidLayout,
                       name + " has a side of " + std::to_string(most) + " pixels; the limit is " +
                           std::to_string(kMaxDimension));
  }
  format_ = &*std::ranges::find(PixelFormats(), known->name, [](const PixelFormat &format) {
    return std::string_view(format.name);
  });
  full_range_ = known->full_range;
  IOSurfaceIncrementUseCount(surface_.get());
}

Surface::~Surface() {
  IOSurfaceDecrementUseCount(surface_.get());
}

vt::CfRef<CVPixelBufferRef> Surface::Buffer() const {
  vt::CfRef<CVPixelBufferRef> buffer;
  const CVReturn status =
      CVPixelBufferCreateWithIOSurface(kCFAllocatorDefault, surface_.get(), nullptr, buffer.Out());
  if (status != kCVReturnSuccess) {
    throw PictureError(PictureFault::kMapFailed, "IOSurface " + std::to_string(id()) +
                                                     " cannot be read: " + vt::Words(status));
  }
  return buffer;
}

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

std::shared_ptr<Picture> PictureOfSurface(PictureLayout layout, uint32_t id,
                                          std::shared_ptr<Budget> budget) {
  auto memory = std::make_unique<SurfaceMemory>(std::make_unique<const Surface>(id));
  const Surface &surface = memory->surface();
  CheckAgrees(layout, CheckLayout(layout), surface);
  layout.planes = memory->planes();
  const Surface *whole = IsWhole(layout) ? &surface : nullptr;
  return std::make_shared<Picture>(layout, std::move(memory), whole, std::move(budget));
}

}  // namespace vsockenc
