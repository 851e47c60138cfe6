// The C API of IOSurface that an encoder needs, for C++ on Linux. See ../../README.md. Surfaces,
// which processes share on a Mac, live within one process here.
#pragma once

#include <CoreFoundation/CoreFoundation.h>

typedef struct __IOSurface *IOSurfaceRef;
typedef uint32_t IOSurfaceID;
typedef int kern_return_t;
CF_CONSTANTS(int){kIOReturnSuccess = 0};
CF_OPTIONS(uint32_t, IOSurfaceLockOptions){kIOSurfaceLockReadOnly = 0x00000001};

// The last is deprecated by Apple since 10.11.
#define VT_SHIM_IOSURFACE_STRINGS(X)                       \
  X(kIOSurfaceWidth, "IOSurfaceWidth")                     \
  X(kIOSurfaceHeight, "IOSurfaceHeight")                   \
  X(kIOSurfaceBytesPerElement, "IOSurfaceBytesPerElement") \
  X(kIOSurfacePixelFormat, "IOSurfacePixelFormat")         \
  X(kIOSurfaceIsGlobal, "IOSurfaceIsGlobal")
VT_SHIM_IOSURFACE_STRINGS(CF_DECLARE_STRING)

CF_EXPORT IOSurfaceRef IOSurfaceCreate(CFDictionaryRef properties);
// A reference of its own with each call; NULL for an id that is not in use or not global.
CF_EXPORT IOSurfaceRef IOSurfaceLookup(IOSurfaceID id);
CF_EXPORT IOSurfaceID IOSurfaceGetID(IOSurfaceRef surface);
CF_EXPORT kern_return_t IOSurfaceLock(IOSurfaceRef surface, IOSurfaceLockOptions options,
                                      uint32_t *seed);
CF_EXPORT kern_return_t IOSurfaceUnlock(IOSurfaceRef surface, IOSurfaceLockOptions options,
                                        uint32_t *seed);
CF_EXPORT size_t IOSurfaceGetWidth(IOSurfaceRef surface);
CF_EXPORT size_t IOSurfaceGetHeight(IOSurfaceRef surface);
CF_EXPORT size_t IOSurfaceGetBytesPerRow(IOSurfaceRef surface);
CF_EXPORT OSType IOSurfaceGetPixelFormat(IOSurfaceRef surface);
CF_EXPORT void *IOSurfaceGetBaseAddress(IOSurfaceRef surface);
CF_EXPORT size_t IOSurfaceGetPlaneCount(IOSurfaceRef surface);
CF_EXPORT size_t IOSurfaceGetBytesPerRowOfPlane(IOSurfaceRef surface, size_t plane);
CF_EXPORT void *IOSurfaceGetBaseAddressOfPlane(IOSurfaceRef surface, size_t plane);
CF_EXPORT void IOSurfaceIncrementUseCount(IOSurfaceRef surface);
CF_EXPORT void IOSurfaceDecrementUseCount(IOSurfaceRef surface);
CF_EXPORT int32_t IOSurfaceGetUseCount(IOSurfaceRef surface);
