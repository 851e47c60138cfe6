#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../memory/staging.h"
#include "../picture/convert.h"
#include "libav.h"
#include "session_encoder.h"

namespace vsockenc {

// The pixel format that an encoder takes.
enum class EncoderInput { kI420, kNv12, kVaapi };

struct LavcSettings : StreamSettings {
  std::string name;  // libavcodec's, e.g. "libx264"
  EncoderInput input;
  bool live_rate;  // the encoder can change its bit rate in mid-stream
  int threads;
  std::vector<std::pair<std::string, std::string>> options;  // of the codec itself
};

// One libavcodec encoder that returns the access unit of a frame before it takes the next one: each
// frame is answered before Encode returns.
class LavcEncoder : public SessionEncoder {
 public:
  // Throws EncoderError.
  LavcEncoder(LavcSettings settings, EventSink &sink);

  void Encode(FrameRequest request) override;
  // An encoder that cannot change its rate is re-opened, and the next frame is a key frame.
  void SetRates(const Rates &rates, int keyframe_interval) override;
  void Finish() override {}
  FrameClock::time_point Tend() override { return FrameClock::time_point::max(); }
  const std::optional<std::string> &failure() const override { return failure_; }

 private:
  void Open();
  // The frame that EncodeFrame takes, yuv420p or nv12, with a buffer of its own.
  AVFrame &WritableFrame();
  // Encodes frame_; `key` makes it an IDR.
  PacketPointer EncodeFrame(bool key);
  // Writes the configured VUI into the parameter sets of H.264.
  void RewriteParameterSets(AVPacket &packet) const;

  LavcSettings settings_;
  EventSink &sink_;
  Converter converter_;
  Staging staging_;  // for pictures that cannot be read in place
  Keyframes keyframes_;
  std::optional<std::string> failure_;
  std::unique_ptr<HardwareFrames> hardware_;  // of kVaapi
  CodecContextPointer context_;
  FramePointer frame_;
  int64_t next_pts_ = 0;
};

EncoderFactory OpenLavc(LavcSettings settings);

}  // namespace vsockenc
