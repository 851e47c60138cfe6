#pragma once

#include <VideoToolbox/VideoToolbox.h>

#include <string>
#include <vector>

#include "compression_session.h"
#include "settings.h"

namespace vsockenc::vt {

// What came of setting a session's properties.
struct PropertyResult {
  std::vector<std::string> refused;  // "RealTime: -12900 (…)"; none of them matters enough to stop
  bool holds_frames;                 // the encoder may, as it does not take MaxFrameDelayCount
};

// Sets everything that an encoder of a live stream is told, in the order in which encoders want it.
// What an encoder does not know is collected. Throws VideoToolboxError when the session is invalid,
// or would make another profile than the one asked for.
PropertyResult SetProperties(VTCompressionSessionRef session, const Settings &settings, Rung rung);

// Those that rate control has; may be called in mid-stream.
OSStatus SetRateProperties(VTCompressionSessionRef session, const Rates &rates, Rung rung);

// The value of an exported constant that only newer systems have; `fallback` where this one has
// not. Its value, not its name, is what counts.
CFStringRef NewerKey(const char *symbol, CFStringRef fallback);

}  // namespace vsockenc::vt
