// Properties of a compression session.
#include <algorithm>

#include "compression_session.h"
#include "counters.h"
#include "properties.h"

OSStatus OpaqueVTCompressionSession::SetProperty(CFStringRef key, CFTypeRef value) {
  Lock lock(mutex_);
  if (StateLocked() != noErr) {
    return StateLocked();
  }
  const OSStatus status = vt_shim::CheckProperty(encoder_entry_, plan_, key, value);
  if (status != noErr) {
    ++vt_shim::Count().properties_refused;
    return status;
  }
  ++vt_shim::Count().properties_set;
  if (value == nullptr) {
    properties_->Remove(key);
    return noErr;
  }
  properties_->Set(key, value);
  if (CFEqual(key, kVTCompressionPropertyKey_AverageBitRate)) {
    new_bit_rate_ =
        static_cast<int64_t>(PropertyNumber(kVTCompressionPropertyKey_AverageBitRate, 0));
  }
  return noErr;
}

OSStatus OpaqueVTCompressionSession::CopyProperty(CFStringRef key, CFTypeRef *value) {
  Lock lock(mutex_);
  if (StateLocked() != noErr) {
    return StateLocked();
  }
  *value = nullptr;
  const OSStatus status = vt_shim::CheckReadable(encoder_entry_, plan_, key);
  if (status != noErr) {
    return status;
  }
  if (std::find(plan_.unset_keys.begin(), plan_.unset_keys.end(), key->view()) !=
      plan_.unset_keys.end()) {
    return noErr;
  }
  if (CFEqual(key, kVTCompressionPropertyKey_EncoderID)) {
    *value = vt_shim::NewString(encoder_entry_.id);
  } else if (CFEqual(key, kVTCompressionPropertyKey_UsingHardwareAcceleratedVideoEncoder)) {
    // The low-latency encoders leave it unset.
    *value = encoder_entry_.low_latency ? nullptr
             : encoder_entry_.hardware  ? kCFBooleanTrue
                                        : kCFBooleanFalse;
  } else if (CFEqual(key, kVTCompressionPropertyKey_NumberOfPendingFrames)) {
    *value = vt_shim::NewNumber(static_cast<int64_t>(pending_.size()));
  } else if (CFEqual(key, kVTCompressionPropertyKey_PixelBufferPoolIsShared)) {
    *value = kCFBooleanTrue;
  } else if (CFEqual(key, kVTCompressionPropertyKey_VideoEncoderPixelBufferAttributes)) {
    *value = CFRetain(pool_->attributes.get());
  } else if (const auto *found = properties_->Find(key); found != nullptr) {
    *value = CFRetain(found);
  }
  return noErr;
}

OSStatus OpaqueVTCompressionSession::CopySupported(CFDictionaryRef *supported) {
  Lock lock(mutex_);
  if (StateLocked() != noErr) {
    return StateLocked();
  }
  *supported = vt_shim::DescribeProperties(encoder_entry_, plan_).Give();
  return noErr;
}
