// Names of types.
#include "cm_types.h"
#include "compression_session.h"
#include "cv_types.h"
#include "violation.h"
#include "vt_pixel_transfer.h"

CFStringRef CFCopyTypeIDDescription(CFTypeID type) {
  using vt_shim::kTypeOf;
  const vt_shim::Type types[] = {
      kTypeOf<__CFNull>,
      kTypeOf<__CFAllocator>,
      kTypeOf<__CFString>,
      kTypeOf<__CFNumber>,
      kTypeOf<__CFBoolean>,
      kTypeOf<__CFDictionary>,
      kTypeOf<__CFArray>,
      kTypeOf<__CFData>,
      kTypeOf<OpaqueCMBlockBuffer>,
      kTypeOf<opaqueCMFormatDescription>,
      kTypeOf<opaqueCMSampleBuffer>,
      kTypeOf<__IOSurface>,
      kTypeOf<__CVBuffer>,
      kTypeOf<__CVPixelBufferPool>,
      kTypeOf<OpaqueVTCompressionSession>,
      kTypeOf<OpaqueVTPixelTransferSession>,
  };
  for (const auto &candidate : types) {
    if (candidate.id == type) {
      return vt_shim::NewString(candidate.name);
    }
  }
  vt_shim::Violation("CFCopyTypeIDDescription: no type has this id");
}
