// libx264 and libx265 through libavcodec, in the role of the media engine.
#pragma once

#include <CoreMedia/CoreMedia.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "pixels.h"

struct AVCodecContext;
struct AVFrame;

namespace vt_shim {

struct EncoderConfig {
  CMVideoCodecType codec;
  int width;
  int height;
  std::string profile;  // of kVTCompressionPropertyKey_ProfileLevel
  double frame_rate = 30;
  int64_t bits_per_second = 0;     // 0: constant quality
  int64_t key_frame_interval = 0;  // frames; 0: the codec's own choice
  bool reordering = true;
  bool open_gop = true;
  bool full_range = false;
  std::string primaries;  // values of the CVImageBuffer keys; "": unspecified
  std::string transfer;
  std::string matrix;
};

struct EncodedUnit {
  int64_t index;  // of the frame
  std::vector<uint8_t> bytes;
  bool key;
};

class SoftwareEncoder {
 public:
  explicit SoftwareEncoder(const EncoderConfig &config);
  ~SoftwareEncoder();

  // Units that are complete, in decoding order; with reordering, of earlier frames.
  std::vector<EncodedUnit> Encode(const Picture &picture, int64_t index, bool key);
  // The rest of them. The encoder cannot be used afterwards.
  std::vector<EncodedUnit> Drain();
  // libx264 alone takes another rate in midstream. false: a new encoder is needed.
  bool SetBitRate(int64_t bits_per_second);
  // VPS, SPS and PPS, as the codec has them.
  std::vector<std::vector<uint8_t>> ParameterSets() const;

 private:
  std::vector<EncodedUnit> Receive();

  struct Free {
    void operator()(AVCodecContext *context) const;
    void operator()(AVFrame *frame) const;
  };
  EncoderConfig config_;
  std::unique_ptr<AVCodecContext, Free> context_;
  std::unique_ptr<AVFrame, Free> frame_;
};

}  // namespace vt_shim
