#pragma once

#include "lavc_encoder_types.h"

struct AVBufferRef;

namespace vsockenc {

// Surfaces of a GPU for an encoder that reads nothing else (VAAPI), and the way there from NV12 in
// memory: what FFmpeg's hwupload filter does.
//
// No machine that this was written on has such a GPU: the device's absence is tested, the upload is
// not.
class HardwareFrames {
 public:
  // Opens the default device and makes `context` take its surfaces; before avcodec_open2. Throws
  // EncoderError.
  explicit HardwareFrames(AVCodecContext &context);
  ~HardwareFrames();
  HardwareFrames(const HardwareFrames &) = delete;
  HardwareFrames &operator=(const HardwareFrames &) = delete;

  // Copies a frame of NV12 to a surface, with its time stamp and type. Throws EncoderError.
  FramePointer Upload(const AVFrame &from) const;

 private:
  AVBufferRef *device_ = nullptr;
  AVBufferRef *frames_ = nullptr;
};

}  // namespace vsockenc
