#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

struct AVCodecContext;
struct AVFrame;
struct AVPacket;

namespace vsockenc {

// Owners of libavcodec's objects.
struct FreeCodecContext {
  void operator()(AVCodecContext *context) const;
};
struct FreeFrame {
  void operator()(AVFrame *frame) const;
};
struct FreePacket {
  void operator()(AVPacket *packet) const;
};
using CodecContextPointer = std::unique_ptr<AVCodecContext, FreeCodecContext>;
using FramePointer = std::unique_ptr<AVFrame, FreeFrame>;
using PacketPointer = std::unique_ptr<AVPacket, FreePacket>;

// Code points of ISO/IEC 23091-2, which libavutil uses too.
struct ColourDescription {
  int primaries;
  int transfer;
  int matrix;
  bool full_range;
};

struct Rational {
  int numerator;
  int denominator;
};

struct EncoderSettings {
  std::string name;  // libavcodec's, e.g. "libx264"
  int width;         // of the visible picture; the encoder gets even numbers
  int height;
  Rational framerate;  // what rate control counts with; neither is 0
  Rational pixel_aspect_ratio;
  ColourDescription colour;
  int64_t bits_per_second;
  int keyframe_interval;  // frames from one key frame to the next
  int threads;
  std::vector<std::pair<std::string, std::string>> options;  // of the codec itself
};

// libavcodec refused or broke. The message carries its words, and what it logged.
class EncoderError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// One libavcodec encoder that gives the access unit of a frame before it takes the next one. To be
// used on one thread, the opening included.
class LavcEncoder {
 public:
  // Throws EncoderError.
  explicit LavcEncoder(const EncoderSettings &settings);

  // The yuv420p frame that Encode takes, with a buffer that nobody else reads. Throws EncoderError.
  AVFrame &WritableFrame();

  // Encodes WritableFrame(); `key` makes it an IDR. Throws EncoderError, after which the encoder is
  // of no use any more.
  PacketPointer Encode(bool key);

  // From the next frame on.
  void SetBitRate(int64_t bits_per_second);

 private:
  CodecContextPointer context_;
  FramePointer frame_;
  int64_t next_pts_ = 0;
};

}  // namespace vsockenc
