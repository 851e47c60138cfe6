#pragma once

#include <string>
#include <utility>
#include <vector>

#include "session_encoder.h"

namespace vsockenc {

// The pixel format that an encoder takes.
enum class EncoderInput { kI420, kNv12, kVaapi };

struct LavcSettings : StreamSettings {
  std::string name;  // libavcodec's, e.g. "libx264"
  EncoderInput input;
  std::string device;  // of kVaapi: the render node; empty: libva's choice
  bool live_rate;      // the encoder can change its bit rate in mid-stream
  int threads;
  std::vector<std::pair<std::string, std::string>> options;  // of the codec itself
};

// One of libavcodec's encoders. Each frame is answered before Encode returns.
EncoderFactory OpenLavc(LavcSettings settings);

}  // namespace vsockenc
