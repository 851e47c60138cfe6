#pragma once

#include <memory>
#include <stdexcept>
#include <string>

struct AVBufferRef;
struct AVCodecContext;
struct AVFrame;
struct AVPacket;

namespace vsockenc {

// Owners of libav's objects.
struct FreeLibav {
  void operator()(AVBufferRef *buffer) const;
  void operator()(AVCodecContext *context) const;
  void operator()(AVFrame *frame) const;
  void operator()(AVPacket *packet) const;
};
using BufferPointer = std::unique_ptr<AVBufferRef, FreeLibav>;
using CodecContextPointer = std::unique_ptr<AVCodecContext, FreeLibav>;
using FramePointer = std::unique_ptr<AVFrame, FreeLibav>;
using PacketPointer = std::unique_ptr<AVPacket, FreeLibav>;

// libavcodec rejected something or failed. The message includes its own, and what it logged.
class EncoderError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// libav's message for one of its error codes.
std::string AvError(int code);

// Collects what libav logs as an error on this thread, because return codes alone rarely explain a
// failure. Nothing is ever written to standard error, which belongs to the program.
class LavcLog {
 public:
  LavcLog();
  ~LavcLog();
  LavcLog(const LavcLog &) = delete;
  LavcLog &operator=(const LavcLog &) = delete;

  // " (…)" with the messages so far, or nothing.
  std::string Messages() const;

 private:
  std::string *outer_;
  std::string messages_;
};

// GPU surfaces for an encoder that reads nothing else (VAAPI), and the upload of NV12 to them, as
// FFmpeg's hwupload filter does it.
//
// Only the absence of a device is tested: the upload is untested (no such GPU available).
class HardwareFrames {
 public:
  // Opens the default device and makes `context` take its surfaces; call it before avcodec_open2.
  // Throws EncoderError.
  explicit HardwareFrames(AVCodecContext &context);

  // Copies a frame of NV12 to a surface, with its time stamp and type. Throws EncoderError.
  FramePointer Upload(const AVFrame &from) const;

 private:
  BufferPointer device_;
  BufferPointer frames_;
};

}  // namespace vsockenc
