#include <map>

#include "cv_types.h"
#include "script.h"
#include "violation.h"
#include "vt_shim.h"

using vt_shim::Check;
using vt_shim::kTypeOf;
using vt_shim::SurfaceCore;
using vt_shim::Violation;

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

const vt_shim::PlaneLayout &Plane(const SurfaceCore &core, size_t plane, const char *where) {
  if (plane >= core.layout.stored_planes()) {
    Violation(std::string(where) + ": plane " + std::to_string(plane) + " of " +
              std::to_string(core.layout.plane_count));
  }
  return core.layout.planes[plane];
}

void *Address(const SurfaceCore &core, size_t plane, const char *where) {
  if (core.locks == 0) {
    Violation(std::string(where) + ": the surface is not locked, what lies there is undefined");
  }
  return core.pixels.get() + Plane(core, plane, where).offset;
}

}  // namespace

__IOSurface::__IOSurface(std::shared_ptr<SurfaceCore> shared)
    : ObjectOf(kTypeOf<__IOSurface>, vt_shim::Lifetime::kCounted), core(std::move(shared)) {}

std::string __IOSurface::Describe() const {
  return "IOSurface " + std::to_string(core->id) + " " + std::to_string(core->layout.width) + "x" +
         std::to_string(core->layout.height);
}

namespace vt_shim {

Ref<__IOSurface> MakeSurface(const PixelLayout &layout, bool global) {
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
  return Ref<__IOSurface>::Adopt(new __IOSurface(core));
}

}  // namespace vt_shim

CFTypeID IOSurfaceGetTypeID(void) {
  return kTypeOf<__IOSurface>.id;
}

IOSurfaceRef IOSurfaceCreate(CFDictionaryRef properties) {
  Check(properties, "IOSurfaceCreate");
  int64_t width = 0;
  int64_t height = 0;
  int64_t format = 0;
  int64_t element_size = 4;
  int64_t stride = 0;
  vt_shim::GetInteger(properties, kIOSurfacePixelFormat, &format);
  vt_shim::GetInteger(properties, kIOSurfaceBytesPerElement, &element_size);
  vt_shim::GetInteger(properties, kIOSurfaceBytesPerRow, &stride);
  if (!vt_shim::GetInteger(properties, kIOSurfaceWidth, &width) ||
      !vt_shim::GetInteger(properties, kIOSurfaceHeight, &height) || width <= 0 || height <= 0 ||
      width > 16384 || height > 16384 || element_size <= 0 || element_size > 16 ||
      (stride != 0 && stride < width * element_size)) {
    return nullptr;
  }
  const auto code = static_cast<OSType>(format);
  const auto columns = static_cast<size_t>(width);
  const auto rows = static_cast<size_t>(height);
  auto layout = vt_shim::LayoutOf(code, columns, rows);
  if (!layout || layout->plane_count == 0) {
    const size_t size = layout ? layout->planes[0].element_size : static_cast<size_t>(element_size);
    layout = vt_shim::PackedLayout(code, columns, rows, size, static_cast<size_t>(stride));
  }
  return vt_shim::MakeSurface(*layout, vt_shim::IsTrue(properties, kIOSurfaceIsGlobal)).Give();
}

IOSurfaceRef IOSurfaceLookup(IOSurfaceID id) {
  const bool scripted = vt_shim::NextLookupFails();
  auto core = Registry::Instance().Find(id);
  if (scripted || core == nullptr || !core->global) {
    return nullptr;
  }
  return new __IOSurface(core);
}

IOSurfaceID IOSurfaceGetID(IOSurfaceRef surface) {
  return Check(surface, "IOSurfaceGetID").core->id;
}

kern_return_t IOSurfaceLock(IOSurfaceRef surface, IOSurfaceLockOptions options, uint32_t *seed) {
  auto &core = *Check(surface, "IOSurfaceLock").core;
  if ((options & kIOSurfaceLockReadOnly) == 0) {
    if (core.encoding > 0) {
      Violation("IOSurfaceLock for writing: an encoder may still read this surface");
    }
    ++core.seed;
  }
  ++core.locks;
  if (seed != nullptr) {
    *seed = core.seed;
  }
  return kIOReturnSuccess;
}

kern_return_t IOSurfaceUnlock(IOSurfaceRef surface, IOSurfaceLockOptions, uint32_t *seed) {
  auto &core = *Check(surface, "IOSurfaceUnlock").core;
  if (core.locks-- <= 0) {
    Violation("IOSurfaceUnlock: the surface is not locked");
  }
  if (seed != nullptr) {
    *seed = core.seed;
  }
  return kIOReturnSuccess;
}

uint32_t IOSurfaceGetSeed(IOSurfaceRef surface) {
  return Check(surface, "IOSurfaceGetSeed").core->seed;
}
size_t IOSurfaceGetAllocSize(IOSurfaceRef surface) {
  return Check(surface, "IOSurfaceGetAllocSize").core->layout.size;
}
size_t IOSurfaceGetWidth(IOSurfaceRef surface) {
  return Check(surface, "IOSurfaceGetWidth").core->layout.width;
}
size_t IOSurfaceGetHeight(IOSurfaceRef surface) {
  return Check(surface, "IOSurfaceGetHeight").core->layout.height;
}
size_t IOSurfaceGetBytesPerElement(IOSurfaceRef surface) {
  return Check(surface, "IOSurfaceGetBytesPerElement").core->layout.planes[0].element_size;
}
size_t IOSurfaceGetBytesPerRow(IOSurfaceRef surface) {
  return Check(surface, "IOSurfaceGetBytesPerRow").core->layout.planes[0].stride;
}
OSType IOSurfaceGetPixelFormat(IOSurfaceRef surface) {
  return Check(surface, "IOSurfaceGetPixelFormat").core->layout.format;
}
void *IOSurfaceGetBaseAddress(IOSurfaceRef surface) {
  return Address(*Check(surface, "IOSurfaceGetBaseAddress").core, 0, "IOSurfaceGetBaseAddress");
}
size_t IOSurfaceGetPlaneCount(IOSurfaceRef surface) {
  return Check(surface, "IOSurfaceGetPlaneCount").core->layout.plane_count;
}
size_t IOSurfaceGetWidthOfPlane(IOSurfaceRef surface, size_t plane) {
  constexpr const char *kWhere = "IOSurfaceGetWidthOfPlane";
  return Plane(*Check(surface, kWhere).core, plane, kWhere).width;
}
size_t IOSurfaceGetHeightOfPlane(IOSurfaceRef surface, size_t plane) {
  constexpr const char *kWhere = "IOSurfaceGetHeightOfPlane";
  return Plane(*Check(surface, kWhere).core, plane, kWhere).height;
}
size_t IOSurfaceGetBytesPerRowOfPlane(IOSurfaceRef surface, size_t plane) {
  constexpr const char *kWhere = "IOSurfaceGetBytesPerRowOfPlane";
  return Plane(*Check(surface, kWhere).core, plane, kWhere).stride;
}
void *IOSurfaceGetBaseAddressOfPlane(IOSurfaceRef surface, size_t plane) {
  constexpr const char *kWhere = "IOSurfaceGetBaseAddressOfPlane";
  return Address(*Check(surface, kWhere).core, plane, kWhere);
}

void IOSurfaceIncrementUseCount(IOSurfaceRef surface) {
  ++Check(surface, "IOSurfaceIncrementUseCount").core->use_count;
}
void IOSurfaceDecrementUseCount(IOSurfaceRef surface) {
  if (Check(surface, "IOSurfaceDecrementUseCount").core->use_count-- <= 0) {
    Violation("IOSurfaceDecrementUseCount: the use count is 0 already");
  }
}
int32_t IOSurfaceGetUseCount(IOSurfaceRef surface) {
  return Check(surface, "IOSurfaceGetUseCount").core->use_count;
}
Boolean IOSurfaceIsInUse(IOSurfaceRef surface) {
  return Check(surface, "IOSurfaceIsInUse").core->use_count > 0;
}

size_t vt_shim_surface_references(uint32_t id) {
  const auto core = Registry::Instance().Find(id);
  return core == nullptr ? 0 : static_cast<size_t>(core.use_count()) - 1;
}
