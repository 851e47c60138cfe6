#pragma once

#include <memory>
#include <stdexcept>
#include <string>

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavutil/buffer.h>
#include <libavutil/frame.h>
}

namespace vsockenc {

// Owners of libav's objects.
template <auto kFree>
struct FreeLibav {
  template <typename Object>
  void operator()(Object *object) const {
    kFree(&object);
  }
};
using BufferPointer = std::unique_ptr<AVBufferRef, FreeLibav<av_buffer_unref>>;
using CodecContextPointer = std::unique_ptr<AVCodecContext, FreeLibav<avcodec_free_context>>;
using FramePointer = std::unique_ptr<AVFrame, FreeLibav<av_frame_free>>;
using PacketPointer = std::unique_ptr<AVPacket, FreeLibav<av_packet_free>>;

// libavcodec rejected something or failed. The message includes its own, and what it logged.
class EncoderError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace vsockenc
