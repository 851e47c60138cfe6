// Pictures that processes share. Here they live within one process.
#pragma once

#include <CoreFoundation/CoreFoundation.h>

typedef struct __IOSurface *IOSurfaceRef;
typedef uint32_t IOSurfaceID;
typedef int kern_return_t;
typedef kern_return_t IOReturn;

enum {
  kIOReturnSuccess = 0,
  kIOReturnBadArgument = (int)0xe00002c2,
  kIOReturnCannotLock = (int)0xe00002cc,
  kIOReturnNotPermitted = (int)0xe00002e2
};

typedef uint32_t IOSurfaceLockOptions;
enum { kIOSurfaceLockReadOnly = 0x00000001, kIOSurfaceLockAvoidSync = 0x00000002 };

CF_EXPORT const CFStringRef kIOSurfaceWidth;
CF_EXPORT const CFStringRef kIOSurfaceHeight;
CF_EXPORT const CFStringRef kIOSurfaceBytesPerElement;
CF_EXPORT const CFStringRef kIOSurfaceBytesPerRow;
CF_EXPORT const CFStringRef kIOSurfaceAllocSize;
CF_EXPORT const CFStringRef kIOSurfacePixelFormat;
CF_EXPORT const CFStringRef kIOSurfacePlaneInfo;
CF_EXPORT const CFStringRef kIOSurfacePlaneWidth;
CF_EXPORT const CFStringRef kIOSurfacePlaneHeight;
CF_EXPORT const CFStringRef kIOSurfacePlaneBytesPerRow;
CF_EXPORT const CFStringRef kIOSurfacePlaneOffset;
CF_EXPORT const CFStringRef kIOSurfaceIsGlobal;  // deprecated by Apple since 10.11

CF_EXPORT CFTypeID IOSurfaceGetTypeID(void);
CF_EXPORT IOSurfaceRef IOSurfaceCreate(CFDictionaryRef properties);
// A reference of its own with each call; NULL for an id that is not in use or not global.
CF_EXPORT IOSurfaceRef IOSurfaceLookup(IOSurfaceID id);
CF_EXPORT IOSurfaceID IOSurfaceGetID(IOSurfaceRef surface);
CF_EXPORT kern_return_t IOSurfaceLock(IOSurfaceRef surface, IOSurfaceLockOptions options,
                                      uint32_t *seed);
CF_EXPORT kern_return_t IOSurfaceUnlock(IOSurfaceRef surface, IOSurfaceLockOptions options,
                                        uint32_t *seed);
CF_EXPORT uint32_t IOSurfaceGetSeed(IOSurfaceRef surface);
CF_EXPORT size_t IOSurfaceGetAllocSize(IOSurfaceRef surface);
CF_EXPORT size_t IOSurfaceGetWidth(IOSurfaceRef surface);
CF_EXPORT size_t IOSurfaceGetHeight(IOSurfaceRef surface);
CF_EXPORT size_t IOSurfaceGetBytesPerElement(IOSurfaceRef surface);
CF_EXPORT size_t IOSurfaceGetBytesPerRow(IOSurfaceRef surface);
CF_EXPORT OSType IOSurfaceGetPixelFormat(IOSurfaceRef surface);
CF_EXPORT void *IOSurfaceGetBaseAddress(IOSurfaceRef surface);
CF_EXPORT size_t IOSurfaceGetPlaneCount(IOSurfaceRef surface);
CF_EXPORT size_t IOSurfaceGetWidthOfPlane(IOSurfaceRef surface, size_t plane);
CF_EXPORT size_t IOSurfaceGetHeightOfPlane(IOSurfaceRef surface, size_t plane);
CF_EXPORT size_t IOSurfaceGetBytesPerRowOfPlane(IOSurfaceRef surface, size_t plane);
CF_EXPORT void *IOSurfaceGetBaseAddressOfPlane(IOSurfaceRef surface, size_t plane);
CF_EXPORT void IOSurfaceIncrementUseCount(IOSurfaceRef surface);
CF_EXPORT void IOSurfaceDecrementUseCount(IOSurfaceRef surface);
CF_EXPORT int32_t IOSurfaceGetUseCount(IOSurfaceRef surface);
CF_EXPORT Boolean IOSurfaceIsInUse(IOSurfaceRef surface);
