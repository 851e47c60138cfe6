// The string constants of every framework, from the headers' tables.
#include <VideoToolbox/VideoToolbox.h>

#include "cf.h"

#define DEFINE(symbol, value)                                                     \
  static constinit const vt_shim::Constant<__CFString> object_of_##symbol{value}; \
  const CFStringRef symbol = &object_of_##symbol.object;
#define DEFINE_PROPERTY(name, ...) DEFINE(kVTCompressionPropertyKey_##name, #name)

DEFINE(kCMSampleAttachmentKey_NotSync, "NotSync")
VT_SHIM_COREVIDEO_STRINGS(DEFINE)
VT_SHIM_IOSURFACE_STRINGS(DEFINE)
VT_SHIM_PROPERTIES(DEFINE_PROPERTY)
VT_SHIM_VIDEOTOOLBOX_STRINGS(DEFINE)
