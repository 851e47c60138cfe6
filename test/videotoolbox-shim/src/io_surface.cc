#include <map>

#include "cv.h"
#include "script.h"
#include "vt_shim.h"

using namespace vt_shim;

namespace {

struct Registry {
  std::mutex mutex;
  std::map<IOSurfaceID, std::weak_ptr<SurfaceCore>> surfaces;
  IOSurfaceID next = 1;

  static Registry &Instance() {
    static auto *registry = new Registry;
    return *registry;
  }
  std::shared_ptr<SurfaceCore> Find(IOSurfaceID id) {
    std::lock_guard lock(mutex);
    const auto found = surfaces.find(id);
    return found == surfaces.end() ? nullptr : found->second.lock();
  }
};

const vt_shim::PlaneLayout &Plane(const SurfaceCore &core, size_t plane,
                                  const char *where = __builtin_FUNCTION()) {
  if (plane >= core.layout.stored_planes()) {
    Violation(std::string(where) + ": plane " + std::to_string(plane) + " of " +
              std::to_string(core.layout.plane_count));
  }
  return core.layout.planes[plane];
}

}  // namespace

std::string __IOSurface::Describe() const {
  return "IOSurface " + std::to_string(core->id) + " " + std::to_string(core->layout.width) + "x" +
         std::to_string(core->layout.height);
}

vt_shim::Ref<__IOSurface> vt_shim::MakeSurface(const PixelLayout &layout, bool global) {
  auto core = std::make_shared<SurfaceCore>();
  core->layout = layout;
  core->pixels = AllocatePixels(layout.size);
  core->global = global;
  Registry &registry = Registry::Instance();
  {
    std::lock_guard lock(registry.mutex);
    core->id = registry.next++;
    registry.surfaces[core->id] = core;
  }
  return Make<__IOSurface>(core);
}

IOSurfaceRef IOSurfaceCreate(CFDictionaryRef properties) {
  Check(properties);
  int64_t width = 0;
  int64_t height = 0;
  int64_t format = 0;
  int64_t element_size = 4;
  GetInteger(properties, kIOSurfacePixelFormat, &format);
  GetInteger(properties, kIOSurfaceBytesPerElement, &element_size);
  if (!GetInteger(properties, kIOSurfaceWidth, &width) ||
      !GetInteger(properties, kIOSurfaceHeight, &height) || width <= 0 || height <= 0 ||
      width > 16384 || height > 16384 || element_size <= 0 || element_size > 16) {
    return nullptr;
  }
  const auto code = static_cast<OSType>(format);
  const auto columns = static_cast<size_t>(width);
  const auto rows = static_cast<size_t>(height);
  const auto layout =
      vt_shim::LayoutOf(code, columns, rows)
          .value_or(vt_shim::PackedLayout(code, columns, rows, static_cast<size_t>(element_size)));
  return vt_shim::MakeSurface(layout, vt_shim::IsTrue(properties, kIOSurfaceIsGlobal)).Give();
}

IOSurfaceRef IOSurfaceLookup(IOSurfaceID id) {
  const bool scripted = vt_shim::NextLookupFails();
  auto core = Registry::Instance().Find(id);
  return scripted || core == nullptr || !core->global ? nullptr : new __IOSurface(core);
}

IOSurfaceID IOSurfaceGetID(IOSurfaceRef surface) {
  return Check(surface).core->id;
}

kern_return_t IOSurfaceLock(IOSurfaceRef surface, IOSurfaceLockOptions options, uint32_t *) {
  auto &core = *Check(surface).core;
  if ((options & kIOSurfaceLockReadOnly) == 0 && core.encoding > 0) {
    Violation("IOSurfaceLock for writing: an encoder may still read this surface");
  }
  ++core.locks;
  return kIOReturnSuccess;
}

kern_return_t IOSurfaceUnlock(IOSurfaceRef surface, IOSurfaceLockOptions, uint32_t *) {
  if (Check(surface).core->locks-- <= 0) Violation("IOSurfaceUnlock: the surface is not locked");
  return kIOReturnSuccess;
}

size_t IOSurfaceGetWidth(IOSurfaceRef surface) {
  return Check(surface).core->layout.width;
}
size_t IOSurfaceGetHeight(IOSurfaceRef surface) {
  return Check(surface).core->layout.height;
}
OSType IOSurfaceGetPixelFormat(IOSurfaceRef surface) {
  return Check(surface).core->layout.format;
}
size_t IOSurfaceGetPlaneCount(IOSurfaceRef surface) {
  return Check(surface).core->layout.plane_count;
}
size_t IOSurfaceGetBytesPerRow(IOSurfaceRef surface) {
  return IOSurfaceGetBytesPerRowOfPlane(surface, 0);
}
void *IOSurfaceGetBaseAddress(IOSurfaceRef surface) {
  return IOSurfaceGetBaseAddressOfPlane(surface, 0);
}
size_t IOSurfaceGetBytesPerRowOfPlane(IOSurfaceRef surface, size_t plane) {
  return Plane(*Check(surface).core, plane).stride;
}
void *IOSurfaceGetBaseAddressOfPlane(IOSurfaceRef surface, size_t plane) {
  const SurfaceCore &core = *Check(surface).core;
  if (core.locks == 0) {
    Violation("IOSurfaceGetBaseAddress: the surface is not locked, its content is undefined");
  }
  return core.pixels.get() + Plane(core, plane).offset;
}

void IOSurfaceIncrementUseCount(IOSurfaceRef surface) {
  ++Check(surface).core->use_count;
}
void IOSurfaceDecrementUseCount(IOSurfaceRef surface) {
  if (Check(surface).core->use_count-- <= 0) {
    Violation("IOSurfaceDecrementUseCount: the use count is 0 already");
  }
}
int32_t IOSurfaceGetUseCount(IOSurfaceRef surface) {
  return Check(surface).core->use_count;
}

size_t vt_shim_surface_references(uint32_t id) {
  const auto core = Registry::Instance().Find(id);
  return core == nullptr ? 0 : static_cast<size_t>(core.use_count()) - 1;
}
