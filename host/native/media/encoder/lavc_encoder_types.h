#pragma once

#include <memory>
#include <stdexcept>
#include <string>

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

// libavcodec refused or broke. The message carries its words, and what it logged.
class EncoderError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// libav's words for one of its error codes.
std::string AvError(int code);

}  // namespace vsockenc
