#include "cv.h"
#include "script.h"

using namespace vt_shim;

__CVBuffer::~__CVBuffer() {
  if (locks > 0) Violation("CFRelease: the last reference goes while the pixel buffer is locked");
  if (pool != nullptr) {
    std::lock_guard lock(pool->mutex);
    pool->idle.push_back(std::move(backing));
  }
}

std::string __CVBuffer::Describe() const {
  return "CVPixelBuffer " + std::to_string(backing.layout.width) + "x" +
         std::to_string(backing.layout.height);
}

std::string __CVBuffer::AttachmentText(CFStringRef key) {
  std::lock_guard lock(attachments_mutex);
  const auto *text = vt_shim::As<__CFString>(attachments.Find(key));
  return text == nullptr ? "" : std::string(text->view());
}

void __CVBuffer::AddEncoding(int change) {
  encoding += change;
  if (backing.surface) backing.surface->core->encoding += change;
}

void __CVBuffer::CheckNotEncoding(const char *where) const {
  if (encoding > 0 || (backing.surface && backing.surface->core->encoding > 0)) {
    Violation(std::string(where) +
              ": the encoder may still read this pixel buffer, its callback has not come");
  }
}

std::optional<Backing> vt_shim::MakeBacking(OSType format, size_t width, size_t height,
                                            bool surface) {
  const auto layout = LayoutOf(format, width, height);
  if (!layout) return std::nullopt;
  Backing backing{*layout, {}, {}};
  if (surface) {
    backing.surface = MakeSurface(*layout, false);
    backing.pixels = backing.surface->core->pixels;
  } else {
    backing.pixels = AllocatePixels(layout->size);
  }
  return backing;
}

// --- attachments

void CVBufferSetAttachment(CVBufferRef buffer, CFStringRef key, CFTypeRef value, CVAttachmentMode) {
  auto &object = Check(buffer);
  std::lock_guard lock(object.attachments_mutex);
  object.attachments.Set(&Check(key), value);
}

void CVBufferRemoveAttachment(CVBufferRef buffer, CFStringRef key) {
  auto &object = Check(buffer);
  std::lock_guard lock(object.attachments_mutex);
  object.attachments.Remove(key);
}

// --- pixel buffers

CVReturn CVPixelBufferCreate(CFAllocatorRef, size_t width, size_t height, OSType pixel_format,
                             CFDictionaryRef attributes, CVPixelBufferRef *buffer) {
  if (buffer == nullptr || width == 0 || height == 0) return kCVReturnInvalidArgument;
  const bool surface = attributes != nullptr &&
                       Check(attributes).Find(kCVPixelBufferIOSurfacePropertiesKey) != nullptr;
  auto backing = vt_shim::MakeBacking(pixel_format, width, height, surface);
  if (!backing) return kCVReturnInvalidPixelFormat;
  *buffer = new __CVBuffer(std::move(*backing));
  return kCVReturnSuccess;
}

CVReturn CVPixelBufferCreateWithIOSurface(CFAllocatorRef, IOSurfaceRef surface, CFDictionaryRef,
                                          CVPixelBufferRef *buffer) {
  const auto &core = *Check(surface).core;
  if (buffer == nullptr) return kCVReturnInvalidArgument;
  if (!vt_shim::LayoutOf(core.layout.format, core.layout.width, core.layout.height)) {
    return kCVReturnInvalidPixelFormat;
  }
  *buffer = new __CVBuffer({core.layout, vt_shim::Ref<__IOSurface>::Share(surface), core.pixels});
  return kCVReturnSuccess;
}

IOSurfaceRef CVPixelBufferGetIOSurface(CVPixelBufferRef buffer) {
  return Check(buffer).backing.surface.get();
}

CVReturn CVPixelBufferLockBaseAddress(CVPixelBufferRef buffer, CVPixelBufferLockFlags flags) {
  auto &object = Check(buffer);
  if ((flags & kCVPixelBufferLock_ReadOnly) == 0) {
    object.CheckNotEncoding("CVPixelBufferLockBaseAddress for writing");
  }
  ++object.locks;
  return kCVReturnSuccess;
}

CVReturn CVPixelBufferUnlockBaseAddress(CVPixelBufferRef buffer, CVPixelBufferLockFlags) {
  if (Check(buffer).locks-- <= 0) {
    Violation("CVPixelBufferUnlockBaseAddress: the buffer is not locked");
  }
  return kCVReturnSuccess;
}

static const vt_shim::PlaneLayout &Plane(CVPixelBufferRef buffer, size_t plane,
                                         const char *where = __builtin_FUNCTION()) {
  const auto &layout = Check(buffer, where).backing.layout;
  if (plane >= layout.stored_planes()) {
    Violation(std::string(where) + ": plane " + std::to_string(plane) + " of " +
              std::to_string(layout.plane_count));
  }
  return layout.planes[plane];
}

size_t CVPixelBufferGetWidth(CVPixelBufferRef buffer) {
  return Check(buffer).backing.layout.width;
}
size_t CVPixelBufferGetHeight(CVPixelBufferRef buffer) {
  return Check(buffer).backing.layout.height;
}
Boolean CVPixelBufferIsPlanar(CVPixelBufferRef buffer) {
  return Check(buffer).backing.layout.plane_count > 0;
}
void *CVPixelBufferGetBaseAddress(CVPixelBufferRef buffer) {
  return CVPixelBufferGetBaseAddressOfPlane(buffer, 0);
}
size_t CVPixelBufferGetBytesPerRow(CVPixelBufferRef buffer) {
  return CVPixelBufferGetBytesPerRowOfPlane(buffer, 0);
}
void *CVPixelBufferGetBaseAddressOfPlane(CVPixelBufferRef buffer, size_t plane) {
  const auto &layout = Plane(buffer, plane);
  return buffer->locks > 0 ? buffer->backing.pixels.get() + layout.offset : nullptr;
}
size_t CVPixelBufferGetBytesPerRowOfPlane(CVPixelBufferRef buffer, size_t plane) {
  return Plane(buffer, plane).stride;
}

// --- pools

CVReturn CVPixelBufferPoolCreate(CFAllocatorRef, CFDictionaryRef,
                                 CFDictionaryRef pixel_buffer_attributes,
                                 CVPixelBufferPoolRef *pool) {
  const auto &attributes = Check(pixel_buffer_attributes);
  int64_t width = 0;
  int64_t height = 0;
  int64_t format = 0;
  if (pool == nullptr || !GetInteger(&attributes, kCVPixelBufferWidthKey, &width) ||
      !GetInteger(&attributes, kCVPixelBufferHeightKey, &height) || width <= 0 || height <= 0 ||
      !GetInteger(&attributes, kCVPixelBufferPixelFormatTypeKey, &format)) {
    return kCVReturnInvalidPixelBufferAttributes;
  }
  const auto code = static_cast<OSType>(format);
  if (!vt_shim::LayoutOf(code, 2, 2)) return kCVReturnInvalidPixelFormat;
  *pool = new __CVPixelBufferPool;
  PoolCore &core = *(*pool)->core;
  core.format = code;
  core.width = static_cast<size_t>(width);
  core.height = static_cast<size_t>(height);
  core.surfaces = attributes.Find(kCVPixelBufferIOSurfacePropertiesKey) != nullptr;
  return kCVReturnSuccess;
}

CVReturn CVPixelBufferPoolCreatePixelBuffer(CFAllocatorRef, CVPixelBufferPoolRef pool,
                                            CVPixelBufferRef *buffer) {
  const auto core = Check(pool).core;
  if (buffer == nullptr) return kCVReturnInvalidArgument;
  const CVReturn scripted = vt_shim::NextPoolStatus();
  if (scripted != kCVReturnSuccess) return scripted;
  std::lock_guard lock(core->mutex);
  std::optional<Backing> backing;
  if (core->idle.empty()) {
    backing = vt_shim::MakeBacking(core->format, core->width, core->height, core->surfaces);
  } else {
    backing = std::move(core->idle.back());
    core->idle.pop_back();
  }
  *buffer = new __CVBuffer(std::move(*backing), core);
  return kCVReturnSuccess;
}
