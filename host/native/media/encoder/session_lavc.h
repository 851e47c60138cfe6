#pragma once

#include "../memory/staging.h"
#include "../picture/convert.h"
#include "lavc_encoder.h"
#include "session_encoder.h"
#include "session_keyframes.h"

namespace vsockenc {

// An encoder of libavcodec in a session: each frame has its answer before Encode returns.
class LavcSessionEncoder : public SessionEncoder {
 public:
  // Throws EncoderError.
  LavcSessionEncoder(const EncoderSettings &settings, EncoderSink &sink);

  void Encode(FrameRequest request) override;
  void SetRates(const Rates &rates, int keyframe_interval) override;
  void Finish() override {}
  FrameClock::time_point Tend() override { return FrameClock::time_point::max(); }
  const std::optional<std::string> &failure() const override { return failure_; }

 private:
  EncoderSink &sink_;
  Converter converter_;
  Staging staging_;  // for pictures that cannot be read in place
  LavcEncoder encoder_;
  Keyframes keyframes_;
  std::optional<std::string> failure_;
};

EncoderFactory OpenLavc(EncoderSettings settings);

}  // namespace vsockenc
