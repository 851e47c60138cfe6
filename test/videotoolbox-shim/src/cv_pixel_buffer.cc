#include <algorithm>

#include "cv_types.h"
#include "violation.h"

using vt_shim::Backing;
using vt_shim::Check;
using vt_shim::kTypeOf;
using vt_shim::Violation;

__CVBuffer::__CVBuffer(Backing memory)
    : ObjectOf(kTypeOf<__CVBuffer>, vt_shim::Lifetime::kCounted), backing(std::move(memory)) {}

std::string __CVBuffer::Describe() const {
  return "CVPixelBuffer " + std::to_string(backing.layout.width) + "x" +
         std::to_string(backing.layout.height);
}

void __CVBuffer::Finalize() {
  if (locks > 0) {
    Violation("CVPixelBufferRelease: the last reference goes while the buffer is locked");
  }
  attachments.clear();
  if (release != nullptr) {
    release(release_refcon, release_base);
  }
  if (pool != nullptr) {
    std::lock_guard lock(pool->mutex);
    --pool->in_use;
    pool->idle.push_back(std::move(backing));
  }
  backing.surface = {};
  backing.pixels.reset();
  pool.reset();
}

namespace vt_shim {

std::optional<Backing> MakeBacking(OSType format, size_t width, size_t height, bool surface) {
  const auto layout = LayoutOf(format, width, height);
  if (!layout) {
    return std::nullopt;
  }
  Backing backing{*layout, {}, {}};
  if (surface) {
    backing.surface = MakeSurface(*layout, false);
    backing.pixels = backing.surface->core->pixels;
  } else {
    backing.pixels = AllocatePixels(layout->size);
  }
  return backing;
}

void CheckNotEncoding(const __CVBuffer &buffer, const char *where) {
  if (buffer.encoding > 0 ||
      (buffer.backing.surface && buffer.backing.surface->core->encoding > 0)) {
    Violation(std::string(where) +
              ": the encoder may still read this pixel buffer, its callback has not come");
  }
}

}  // namespace vt_shim

CFTypeID CVPixelBufferGetTypeID(void) {
  return kTypeOf<__CVBuffer>.id;
}

CVBufferRef CVBufferRetain(CVBufferRef buffer) {
  if (buffer != nullptr) {
    buffer->Retain("CVBufferRetain");
  }
  return buffer;
}
void CVBufferRelease(CVBufferRef buffer) {
  if (buffer != nullptr) {
    buffer->Release("CVBufferRelease");
  }
}
CVPixelBufferRef CVPixelBufferRetain(CVPixelBufferRef buffer) {
  return CVBufferRetain(buffer);
}
void CVPixelBufferRelease(CVPixelBufferRef buffer) {
  CVBufferRelease(buffer);
}

CVReturn CVPixelBufferCreate(CFAllocatorRef, size_t width, size_t height, OSType pixel_format,
                             CFDictionaryRef attributes, CVPixelBufferRef *buffer) {
  if (buffer == nullptr || width == 0 || height == 0) {
    return kCVReturnInvalidArgument;
  }
  if (width > 16384 || height > 16384) {
    return kCVReturnInvalidSize;
  }
  const bool surface =
      attributes != nullptr &&
      Check(attributes, "CVPixelBufferCreate").Find(kCVPixelBufferIOSurfacePropertiesKey) !=
          nullptr;
  auto backing = vt_shim::MakeBacking(pixel_format, width, height, surface);
  if (!backing) {
    return kCVReturnInvalidPixelFormat;
  }
  *buffer = new __CVBuffer(std::move(*backing));
  return kCVReturnSuccess;
}

CVReturn CVPixelBufferCreateWithBytes(CFAllocatorRef, size_t width, size_t height,
                                      OSType pixel_format, void *base, size_t bytes_per_row,
                                      CVPixelBufferReleaseBytesCallback release, void *refcon,
                                      CFDictionaryRef, CVPixelBufferRef *buffer) {
  const auto layout = vt_shim::LayoutOf(pixel_format, width, height);
  if (!layout || layout->plane_count > 0) {
    return kCVReturnInvalidPixelFormat;
  }
  const size_t element_size = layout->planes[0].element_size;
  if (buffer == nullptr || base == nullptr || bytes_per_row < width * element_size) {
    return kCVReturnInvalidArgument;
  }
  *buffer = new __CVBuffer(
      {vt_shim::PackedLayout(pixel_format, width, height, element_size, bytes_per_row),
       {},
       std::shared_ptr<uint8_t>(static_cast<uint8_t *>(base), [](uint8_t *) {})});
  (*buffer)->release = release;
  (*buffer)->release_refcon = refcon;
  (*buffer)->release_base = base;
  return kCVReturnSuccess;
}

CVReturn CVPixelBufferCreateWithIOSurface(CFAllocatorRef, IOSurfaceRef surface, CFDictionaryRef,
                                          CVPixelBufferRef *buffer) {
  const auto &core = *Check(surface, "CVPixelBufferCreateWithIOSurface").core;
  if (buffer == nullptr) {
    return kCVReturnInvalidArgument;
  }
  if (!vt_shim::LayoutOf(core.layout.format, core.layout.width, core.layout.height)) {
    return kCVReturnInvalidPixelFormat;
  }
  *buffer = new __CVBuffer({core.layout, vt_shim::Ref<__IOSurface>::Share(surface), core.pixels});
  return kCVReturnSuccess;
}

IOSurfaceRef CVPixelBufferGetIOSurface(CVPixelBufferRef buffer) {
  return Check(buffer, "CVPixelBufferGetIOSurface").backing.surface.get();
}

CVReturn CVPixelBufferLockBaseAddress(CVPixelBufferRef buffer, CVPixelBufferLockFlags flags) {
  auto &object = Check(buffer, "CVPixelBufferLockBaseAddress");
  if ((flags & kCVPixelBufferLock_ReadOnly) == 0) {
    vt_shim::CheckNotEncoding(object, "CVPixelBufferLockBaseAddress for writing");
  }
  ++object.locks;
  return kCVReturnSuccess;
}

CVReturn CVPixelBufferUnlockBaseAddress(CVPixelBufferRef buffer, CVPixelBufferLockFlags) {
  if (Check(buffer, "CVPixelBufferUnlockBaseAddress").locks-- <= 0) {
    Violation("CVPixelBufferUnlockBaseAddress: the buffer is not locked");
  }
  return kCVReturnSuccess;
}

static const vt_shim::PlaneLayout &Plane(CVPixelBufferRef buffer, size_t plane, const char *where) {
  const auto &layout = Check(buffer, where).backing.layout;
  if (plane >= layout.stored_planes()) {
    Violation(std::string(where) + ": plane " + std::to_string(plane) + " of " +
              std::to_string(layout.plane_count));
  }
  return layout.planes[plane];
}

size_t CVPixelBufferGetWidth(CVPixelBufferRef buffer) {
  return Check(buffer, "CVPixelBufferGetWidth").backing.layout.width;
}
size_t CVPixelBufferGetHeight(CVPixelBufferRef buffer) {
  return Check(buffer, "CVPixelBufferGetHeight").backing.layout.height;
}
OSType CVPixelBufferGetPixelFormatType(CVPixelBufferRef buffer) {
  return Check(buffer, "CVPixelBufferGetPixelFormatType").backing.layout.format;
}
void *CVPixelBufferGetBaseAddress(CVPixelBufferRef buffer) {
  return CVPixelBufferGetBaseAddressOfPlane(buffer, 0);
}
size_t CVPixelBufferGetBytesPerRow(CVPixelBufferRef buffer) {
  return Plane(buffer, 0, "CVPixelBufferGetBytesPerRow").stride;
}
size_t CVPixelBufferGetDataSize(CVPixelBufferRef buffer) {
  return Check(buffer, "CVPixelBufferGetDataSize").backing.layout.size;
}
Boolean CVPixelBufferIsPlanar(CVPixelBufferRef buffer) {
  return Check(buffer, "CVPixelBufferIsPlanar").backing.layout.plane_count > 0;
}
size_t CVPixelBufferGetPlaneCount(CVPixelBufferRef buffer) {
  return Check(buffer, "CVPixelBufferGetPlaneCount").backing.layout.plane_count;
}
size_t CVPixelBufferGetWidthOfPlane(CVPixelBufferRef buffer, size_t plane) {
  return Plane(buffer, plane, "CVPixelBufferGetWidthOfPlane").width;
}
size_t CVPixelBufferGetHeightOfPlane(CVPixelBufferRef buffer, size_t plane) {
  return Plane(buffer, plane, "CVPixelBufferGetHeightOfPlane").height;
}
void *CVPixelBufferGetBaseAddressOfPlane(CVPixelBufferRef buffer, size_t plane) {
  const auto &layout = Plane(buffer, plane, "CVPixelBufferGetBaseAddressOfPlane");
  return buffer->locks > 0 ? buffer->backing.pixels.get() + layout.offset : nullptr;
}
size_t CVPixelBufferGetBytesPerRowOfPlane(CVPixelBufferRef buffer, size_t plane) {
  return Plane(buffer, plane, "CVPixelBufferGetBytesPerRowOfPlane").stride;
}
