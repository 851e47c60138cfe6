#pragma once

#include <VideoToolbox/VTPixelTransferSession.h>

#include <mutex>

#include "cf_types.h"

struct OpaqueVTPixelTransferSession final : vt_shim::ObjectOf<OpaqueVTPixelTransferSession> {
  OpaqueVTPixelTransferSession();
  void Finalize() override { properties = {}; }
  OSStatus SetProperty(CFStringRef key, CFTypeRef value);
  OSStatus CopyProperty(CFStringRef key, CFTypeRef *value);

  std::mutex mutex;
  bool invalid = false;
  vt_shim::Ref<__CFDictionary> properties;
};

namespace vt_shim {

template <>
inline constexpr Type kTypeOf<OpaqueVTPixelTransferSession>{"VTPixelTransferSession", 41};

}  // namespace vt_shim
