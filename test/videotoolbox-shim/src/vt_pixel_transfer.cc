#include "vt_pixel_transfer.h"

#include <VideoToolbox/VTPixelTransferProperties.h>

#include "convert.h"
#include "counters.h"
#include "cv_types.h"
#include "script.h"

using vt_shim::Check;
using vt_shim::kTypeOf;

OpaqueVTPixelTransferSession::OpaqueVTPixelTransferSession()
    : ObjectOf(kTypeOf<OpaqueVTPixelTransferSession>, vt_shim::Lifetime::kCounted),
      properties(vt_shim::Ref<__CFDictionary>::Adopt(new __CFDictionary(true))) {}

OSStatus OpaqueVTPixelTransferSession::SetProperty(CFStringRef key, CFTypeRef value) {
  std::lock_guard lock(mutex);
  if (invalid) {
    return kVTInvalidSessionErr;
  }
  const CFStringRef keys[] = {kVTPixelTransferPropertyKey_ScalingMode,
                              kVTPixelTransferPropertyKey_RealTime,
                              kVTPixelTransferPropertyKey_DestinationColorPrimaries,
                              kVTPixelTransferPropertyKey_DestinationTransferFunction,
                              kVTPixelTransferPropertyKey_DestinationYCbCrMatrix};
  for (const CFStringRef known : keys) {
    if (!CFEqual(known, key)) {
      continue;
    }
    // Other ways of scaling would need the clean aperture, which nothing here sets.
    if (known == kVTPixelTransferPropertyKey_ScalingMode && value != nullptr &&
        !CFEqual(value, kVTScalingMode_Normal)) {
      return kVTPropertyNotSupportedErr;
    }
    value == nullptr ? properties->Remove(key) : properties->Set(key, value);
    return noErr;
  }
  return kVTPropertyNotSupportedErr;
}

OSStatus OpaqueVTPixelTransferSession::CopyProperty(CFStringRef key, CFTypeRef *value) {
  std::lock_guard lock(mutex);
  if (invalid) {
    return kVTInvalidSessionErr;
  }
  const auto *found = properties->Find(key);
  *value = found == nullptr ? nullptr : CFRetain(found);
  return noErr;
}

CFTypeID VTPixelTransferSessionGetTypeID(void) {
  return kTypeOf<OpaqueVTPixelTransferSession>.id;
}

OSStatus VTPixelTransferSessionCreate(CFAllocatorRef, VTPixelTransferSessionRef *session) {
  if (session == nullptr) {
    return kVTParameterErr;
  }
  *session = new OpaqueVTPixelTransferSession;
  return noErr;
}

void VTPixelTransferSessionInvalidate(VTPixelTransferSessionRef session) {
  auto &object = Check(session, "VTPixelTransferSessionInvalidate");
  std::lock_guard lock(object.mutex);
  object.invalid = true;
}

OSStatus VTPixelTransferSessionTransferImage(VTPixelTransferSessionRef session,
                                             CVPixelBufferRef source,
                                             CVPixelBufferRef destination) {
  constexpr const char *kWhere = "VTPixelTransferSessionTransferImage";
  auto &object = Check(session, kWhere);
  auto &from = Check(source, kWhere);
  auto &to = Check(destination, kWhere);
  vt_shim::CheckNotEncoding(to, kWhere);
  std::lock_guard lock(object.mutex);
  if (object.invalid) {
    return kVTInvalidSessionErr;
  }
  const OSStatus scripted = vt_shim::NextTransferStatus();
  if (scripted != noErr) {
    return scripted;
  }
  std::string matrix = vt_shim::AttachmentText(to, kCVImageBufferYCbCrMatrixKey);
  const auto *wanted = vt_shim::As<__CFString>(
      object.properties->Find(kVTPixelTransferPropertyKey_DestinationYCbCrMatrix));
  if (wanted != nullptr) {
    matrix = wanted->view();
  }
  const auto &target = to.backing;
  if (!vt_shim::Convert({from.backing.layout, from.backing.pixels.get()},
                        {target.layout, target.pixels.get()}, matrix)) {
    return kVTPixelTransferNotSupportedErr;
  }
  ++vt_shim::Count().transfers;
  return noErr;
}
