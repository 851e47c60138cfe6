// Which encoders this Mac is said to have, and which of them a specification chooses.
#pragma once

#include <CoreMedia/CoreMedia.h>

#include <span>
#include <vector>

#include "script.h"

namespace vt_shim {

struct EncoderEntry {
  const char *id;
  const char *name;
  CMVideoCodecType codec;
  bool hardware;     // runs on the media engine
  bool low_latency;  // low-latency rate control; does not say that it is hardware
  int max_width;
  int max_height;
  std::vector<CFStringRef> unsupported;  // properties that it answers -12900 for
};

std::span<const EncoderEntry> EncoderCatalog();

struct EncoderChoice {
  const EncoderEntry *entry;  // nullptr when refused
  OSStatus status;
};
EncoderChoice ChooseEncoder(int32_t width, int32_t height, CMVideoCodecType codec,
                            CFDictionaryRef specification, const SessionPlan &plan);

}  // namespace vt_shim
