// The C functions of VTSession.h, which take sessions of either kind.
#include "compression_session.h"
#include "violation.h"
#include "vt_pixel_transfer.h"

using vt_shim::As;

[[noreturn]] static void RefuseSession(const char *where) {
  vt_shim::Violation(std::string(where) + ": not a session");
}

OSStatus VTSessionCopySupportedPropertyDictionary(VTSessionRef session,
                                                  CFDictionaryRef *supported) {
  if (auto *compression = As<OpaqueVTCompressionSession>(session)) {
    return compression->CopySupported(supported);
  }
  RefuseSession("VTSessionCopySupportedPropertyDictionary");
}

OSStatus VTSessionSetProperty(VTSessionRef session, CFStringRef key, CFTypeRef value) {
  vt_shim::Check(key, "VTSessionSetProperty");
  if (auto *compression = As<OpaqueVTCompressionSession>(session)) {
    return compression->SetProperty(key, value);
  }
  if (auto *transfer = As<OpaqueVTPixelTransferSession>(session)) {
    return transfer->SetProperty(key, value);
  }
  RefuseSession("VTSessionSetProperty");
}

OSStatus VTSessionSetProperties(VTSessionRef session, CFDictionaryRef properties) {
  OSStatus first_error = noErr;
  for (const auto &[key, value] : vt_shim::Check(properties, "VTSessionSetProperties").entries) {
    const OSStatus status = VTSessionSetProperty(session, As<__CFString>(key.get()), value.get());
    first_error = first_error == noErr ? status : first_error;
  }
  return first_error;
}

OSStatus VTSessionCopyProperty(VTSessionRef session, CFStringRef key, CFAllocatorRef, void *value) {
  vt_shim::Check(key, "VTSessionCopyProperty");
  if (value == nullptr) {
    return kVTParameterErr;
  }
  auto *result = static_cast<CFTypeRef *>(value);
  if (auto *compression = As<OpaqueVTCompressionSession>(session)) {
    return compression->CopyProperty(key, result);
  }
  if (auto *transfer = As<OpaqueVTPixelTransferSession>(session)) {
    return transfer->CopyProperty(key, result);
  }
  RefuseSession("VTSessionCopyProperty");
}
