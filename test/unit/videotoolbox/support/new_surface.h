// Surfaces as another process would make them.
#pragma once

#include <CoreVideo/CoreVideo.h>

#include "../../../../host/native/videotoolbox/cf.h"

// Empty when there can be none of that size.
inline vsockenc::vt::CfRef<IOSurfaceRef> NewSurface(OSType format, int width, int height,
                                                    bool global) {
  using namespace vsockenc::vt;
  const auto properties = Dictionary({
      {kIOSurfaceWidth, Number(int32_t{width}).get()},
      {kIOSurfaceHeight, Number(int32_t{height}).get()},
      {kIOSurfacePixelFormat, Number(static_cast<int32_t>(format)).get()},
      {kIOSurfaceIsGlobal, Bool(global)},
  });
  return CfRef<IOSurfaceRef>::Adopt(IOSurfaceCreate(properties.get()));
}
