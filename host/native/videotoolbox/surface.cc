#include "surface.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "../media/memory/picture_error.h"
#include "../media/picture/picture_layout.h"
#include "status.h"

namespace vsockenc {
namespace {

// What a surface may hold: CoreVideo's type, and the name that the format table has for it.
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

// The four characters of a type, or its number where they cannot be shown.
std::string TypeName(OSType type) {
  std::string name;
  for (int shift = 24; shift >= 0; shift -= 8) {
    const char character = static_cast<char>(type >> shift & 0xff);
    if (character < ' ' || character > '~') return std::to_string(type);
    name += character;
  }
  return name;
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
                           "; BGRA, RGBA, ARGB, ABGR, 420v and 420f can be encoded");
  }
  const size_t most =
      std::max(IOSurfaceGetWidth(surface_.get()), IOSurfaceGetHeight(surface_.get()));
  if (most > kMaxDimension) {
    throw PictureError(PictureFault::kInvalidLayout,
                       name + " has a side of " + std::to_string(most) + " pixels, at most " +
                           std::to_string(kMaxDimension) + " can be encoded");
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

}  // namespace vsockenc
