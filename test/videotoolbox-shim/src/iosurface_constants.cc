#include <IOSurface/IOSurface.h>

#include "string_constant.h"

VT_SHIM_STRING(kIOSurfaceWidth, "IOSurfaceWidth")
VT_SHIM_STRING(kIOSurfaceHeight, "IOSurfaceHeight")
VT_SHIM_STRING(kIOSurfaceBytesPerElement, "IOSurfaceBytesPerElement")
VT_SHIM_STRING(kIOSurfaceBytesPerRow, "IOSurfaceBytesPerRow")
VT_SHIM_STRING(kIOSurfaceAllocSize, "IOSurfaceAllocSize")
VT_SHIM_STRING(kIOSurfacePixelFormat, "IOSurfacePixelFormat")
VT_SHIM_STRING(kIOSurfacePlaneInfo, "IOSurfacePlaneInfo")
VT_SHIM_STRING(kIOSurfacePlaneWidth, "IOSurfacePlaneWidth")
VT_SHIM_STRING(kIOSurfacePlaneHeight, "IOSurfacePlaneHeight")
VT_SHIM_STRING(kIOSurfacePlaneBytesPerRow, "IOSurfacePlaneBytesPerRow")
VT_SHIM_STRING(kIOSurfacePlaneOffset, "IOSurfacePlaneOffset")
VT_SHIM_STRING(kIOSurfaceIsGlobal, "IOSurfaceIsGlobal")
