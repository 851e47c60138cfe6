#include "cv_types.h"
#include "script.h"

using vt_shim::Backing;
using vt_shim::Check;
using vt_shim::kTypeOf;
using vt_shim::PoolCore;

__CVPixelBufferPool::__CVPixelBufferPool(std::shared_ptr<PoolCore> shared,
                                         vt_shim::Ref<__CFDictionary> pixel_buffer_attributes)
    : ObjectOf(kTypeOf<__CVPixelBufferPool>, vt_shim::Lifetime::kCounted),
      core(std::move(shared)),
      attributes(std::move(pixel_buffer_attributes)) {}

void __CVPixelBufferPool::Finalize() {
  core.reset();
  attributes = {};
}

CFTypeID CVPixelBufferPoolGetTypeID(void) {
  return kTypeOf<__CVPixelBufferPool>.id;
}

CVPixelBufferPoolRef CVPixelBufferPoolRetain(CVPixelBufferPoolRef pool) {
  if (pool != nullptr) {
    pool->Retain("CVPixelBufferPoolRetain");
  }
  return pool;
}
void CVPixelBufferPoolRelease(CVPixelBufferPoolRef pool) {
  if (pool != nullptr) {
    pool->Release("CVPixelBufferPoolRelease");
  }
}

CVReturn CVPixelBufferPoolCreate(CFAllocatorRef, CFDictionaryRef,
                                 CFDictionaryRef pixel_buffer_attributes,
                                 CVPixelBufferPoolRef *pool) {
  const auto &attributes = Check(pixel_buffer_attributes, "CVPixelBufferPoolCreate");
  int64_t width = 0;
  int64_t height = 0;
  int64_t format = 0;
  if (pool == nullptr || !vt_shim::GetInteger(&attributes, kCVPixelBufferWidthKey, &width) ||
      !vt_shim::GetInteger(&attributes, kCVPixelBufferHeightKey, &height) || width <= 0 ||
      height <= 0 || !vt_shim::GetInteger(&attributes, kCVPixelBufferPixelFormatTypeKey, &format)) {
    return kCVReturnInvalidPixelBufferAttributes;
  }
  const auto code = static_cast<OSType>(format);
  if (!vt_shim::LayoutOf(code, 2, 2)) {
    return kCVReturnInvalidPixelFormat;
  }
  auto core = std::make_shared<PoolCore>();
  core->format = code;
  core->width = static_cast<size_t>(width);
  core->height = static_cast<size_t>(height);
  core->surfaces = attributes.Find(kCVPixelBufferIOSurfacePropertiesKey) != nullptr;
  *pool = new __CVPixelBufferPool(core, vt_shim::Ref<__CFDictionary>::Share(&attributes));
  return kCVReturnSuccess;
}

CFDictionaryRef CVPixelBufferPoolGetPixelBufferAttributes(CVPixelBufferPoolRef pool) {
  return Check(pool, "CVPixelBufferPoolGetPixelBufferAttributes").attributes.get();
}

CVReturn CVPixelBufferPoolCreatePixelBuffer(CFAllocatorRef allocator, CVPixelBufferPoolRef pool,
                                            CVPixelBufferRef *buffer) {
  return CVPixelBufferPoolCreatePixelBufferWithAuxAttributes(allocator, pool, nullptr, buffer);
}

CVReturn CVPixelBufferPoolCreatePixelBufferWithAuxAttributes(CFAllocatorRef,
                                                             CVPixelBufferPoolRef pool,
                                                             CFDictionaryRef aux,
                                                             CVPixelBufferRef *buffer) {
  const auto core = Check(pool, "CVPixelBufferPoolCreatePixelBuffer").core;
  if (buffer == nullptr) {
    return kCVReturnInvalidArgument;
  }
  const CVReturn scripted = vt_shim::NextPoolStatus();
  if (scripted != kCVReturnSuccess) {
    return scripted;
  }
  std::lock_guard lock(core->mutex);
  int64_t threshold = 0;
  if (vt_shim::GetInteger(aux, kCVPixelBufferPoolAllocationThresholdKey, &threshold) &&
      static_cast<int64_t>(core->in_use) >= threshold) {
    return kCVReturnWouldExceedAllocationThreshold;
  }
  std::optional<Backing> backing;
  if (core->idle.empty()) {
    backing = vt_shim::MakeBacking(core->format, core->width, core->height, core->surfaces);
  } else {
    backing = std::move(core->idle.back());
    core->idle.pop_back();
  }
  *buffer = new __CVBuffer(std::move(*backing));
  (*buffer)->pool = core;
  ++core->in_use;
  return kCVReturnSuccess;
}

void CVPixelBufferPoolFlush(CVPixelBufferPoolRef pool, CVPixelBufferPoolFlushFlags) {
  const auto core = Check(pool, "CVPixelBufferPoolFlush").core;
  std::vector<Backing> excess;
  std::lock_guard lock(core->mutex);
  excess.swap(core->idle);
}
