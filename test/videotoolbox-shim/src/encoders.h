// The encoders of this imaginary Mac, their properties, and which of them a specification chooses.
#pragma once

#include <VideoToolbox/VideoToolbox.h>

#include <string>
#include <string_view>
#include <vector>

#include "cf.h"
#include "script.h"

namespace vt_shim {

struct Size {
  int32_t width;
  int32_t height;
};

struct EncoderEntry {
  const char *end_of_id;
  const char *name;
  CMVideoCodecType codec;
  bool hardware;  // runs on the media engine
  // Low-latency rate control; such an encoder does not report that it is hardware.
  bool low_latency;
  std::vector<std::string_view> unsupported;  // properties that it answers -12900 for
  std::string id() const { return std::string("com.apple.videotoolbox.videoencoder.") + end_of_id; }
};

struct EncoderChoice {
  const EncoderEntry *entry;  // nullptr when refused
  OSStatus status;
};
EncoderChoice ChooseEncoder(int32_t width, int32_t height, CMVideoCodecType codec,
                            CFDictionaryRef specification, const SessionPlan &plan);

// noErr, or the error that VTSessionSetProperty gives for the value. A value of the wrong kind, and
// a number outside of anything plausible (bits of a double read as an integer), end the process.
// NULL is allowed.
OSStatus CheckProperty(const EncoderEntry &encoder, const SessionPlan &plan, CFStringRef key,
                       CFTypeRef value);

// noErr, or the error of VTSessionCopyProperty.
OSStatus CheckReadable(const EncoderEntry &encoder, const SessionPlan &plan, CFStringRef key);

}  // namespace vt_shim
