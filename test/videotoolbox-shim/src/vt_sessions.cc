// Pixel-transfer sessions, and the functions of sessions of either kind.
#include <algorithm>

#include "compression_session.h"

using namespace vt_shim;

struct OpaqueVTPixelTransferSession final : vt_shim::ObjectOf<OpaqueVTPixelTransferSession> {
  static constexpr char kType[] = "VTPixelTransferSession";
  OSStatus SetProperty(CFStringRef key, CFTypeRef value);

  std::mutex mutex;
  bool invalid = false;
  __CFDictionary properties{vt_shim::kImmortal};
};

OSStatus OpaqueVTPixelTransferSession::SetProperty(CFStringRef key, CFTypeRef value) {
  const CFStringRef known[] = {kVTPixelTransferPropertyKey_RealTime,
                               kVTPixelTransferPropertyKey_DestinationColorPrimaries,
                               kVTPixelTransferPropertyKey_DestinationTransferFunction,
                               kVTPixelTransferPropertyKey_DestinationYCbCrMatrix};
  std::lock_guard lock(mutex);
  if (invalid) return kVTInvalidSessionErr;
  if (std::none_of(std::begin(known), std::end(known),
                   [key](CFStringRef one) { return CFEqual(one, key); })) {
    return kVTPropertyNotSupportedErr;
  }
  value == nullptr ? properties.Remove(key) : properties.Set(key, value);
  return noErr;
}

OSStatus VTPixelTransferSessionCreate(CFAllocatorRef, VTPixelTransferSessionRef *session) {
  if (session == nullptr) return kVTParameterErr;
  *session = new OpaqueVTPixelTransferSession;
  return noErr;
}

void VTPixelTransferSessionInvalidate(VTPixelTransferSessionRef session) {
  std::lock_guard lock(Check(session).mutex);
  session->invalid = true;
}

OSStatus VTPixelTransferSessionTransferImage(VTPixelTransferSessionRef session,
                                             CVPixelBufferRef source,
                                             CVPixelBufferRef destination) {
  auto &object = Check(session);
  const auto &from = Check(source).backing;
  auto &to = Check(destination);
  to.CheckNotEncoding(__func__);
  std::lock_guard lock(object.mutex);
  if (object.invalid) return kVTInvalidSessionErr;
  const OSStatus scripted = vt_shim::NextTransferStatus();
  if (scripted != noErr) return scripted;
  const auto *wanted =
      As<__CFString>(object.properties.Find(kVTPixelTransferPropertyKey_DestinationYCbCrMatrix));
  const std::string matrix = wanted == nullptr ? to.AttachmentText(kCVImageBufferYCbCrMatrixKey)
                                               : std::string(wanted->view());
  if (!vt_shim::Convert({from.layout, from.pixels.get()},
                        {to.backing.layout, to.backing.pixels.get()}, matrix)) {
    return kVTPixelTransferNotSupportedErr;
  }
  ++vt_shim::Count().transfers;
  return noErr;
}

OSStatus VTSessionSetProperty(VTSessionRef session, CFStringRef key, CFTypeRef value) {
  Check(key);
  if (auto *transfer = As<OpaqueVTPixelTransferSession>(session)) {
    return transfer->SetProperty(key, value);
  }
  return Check(static_cast<VTCompressionSessionRef>(const_cast<void *>(session)))
      .SetProperty(key, value);
}

// Of compression sessions alone.
OSStatus VTSessionCopyProperty(VTSessionRef session, CFStringRef key, CFAllocatorRef, void *value) {
  Check(key);
  if (value == nullptr) return kVTParameterErr;
  return Check(static_cast<VTCompressionSessionRef>(const_cast<void *>(session)))
      .CopyProperty(key, static_cast<CFTypeRef *>(value));
}
