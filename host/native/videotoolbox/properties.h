#pragma once

#include <VideoToolbox/VideoToolbox.h>

#include <string>
#include <vector>

#include "compression_session.h"
#include "settings.h"

namespace vsockenc::vt {

// The outcome of SetProperties.
struct PropertyResult {
  std::vector<std::string> refused;  // "RealTime: -12900 (…)"; none is essential
  bool holds_frames;                 // the encoder may, as it refused MaxFrameDelayCount
};

// Sets every property of a live stream, in the order that encoders need. Unsupported properties are
// collected. Throws VideoToolboxError when the session is invalid, or would encode another profile
// than the requested one.
PropertyResult SetProperties(VTCompressionSessionRef session, const Settings &settings, Rung rung);

// Sets the properties of rate control; also in mid-stream.
OSStatus SetRateProperties(VTCompressionSessionRef session, const Rates &rates, Rung rung);

}  // namespace vsockenc::vt
