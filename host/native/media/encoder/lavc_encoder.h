#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../bitstream/video_signal.h"
#include "hardware_frames.h"
#include "lavc_encoder_types.h"
#include "rates.h"

namespace vsockenc {

// What an encoder takes.
enum class EncoderInput { kI420, kNv12, kVaapi };

struct EncoderSettings {
  std::string name;  // libavcodec's, e.g. "libx264"
  int width;         // of the visible picture; the encoder gets even numbers
  int height;
  Rational framerate;  // what rate control counts with; neither is 0
  bool fixed_rate;     // the VUI states it
  Rational pixel_aspect_ratio;
  ColourDescription colour;
  bool rgb;  // what is encoded, rather than NV12 or I420
  EncoderInput input;
  bool live_rate;  // it takes another bit rate in mid-stream
  Rates rates;
  int keyframe_interval;  // frames from one key frame to the next
  int threads;
  std::vector<std::pair<std::string, std::string>> options;  // of the codec itself
};

// One libavcodec encoder that gives the access unit of a frame before it takes the next one. To be
// used on one thread, the opening included.
class LavcEncoder {
 public:
  // Throws EncoderError.
  explicit LavcEncoder(const EncoderSettings &settings);

  // The frame that Encode takes, yuv420p or nv12, with a buffer that nobody else reads. Throws
  // EncoderError.
  AVFrame &WritableFrame();

  // Encodes WritableFrame(); `key` makes it an IDR. Throws EncoderError, after which the encoder is
  // of no use any more.
  PacketPointer Encode(bool key);

  // From the next frame on. Where the encoder cannot change it, it is opened anew, and the next
  // frame is a key frame. Throws EncoderError, after which the encoder is of no use any more.
  void SetRates(const Rates &rates);

 private:
  void Open();
  // Writes the configured VUI into the parameter sets of H.264. Throws EncoderError.
  void RewriteParameterSets(AVPacket &packet) const;

  EncoderSettings settings_;
  std::unique_ptr<HardwareFrames> hardware_;  // of kVaapi
  CodecContextPointer context_;
  FramePointer frame_;
  int64_t next_pts_ = 0;
};

}  // namespace vsockenc
