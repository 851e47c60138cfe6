#include "hardware_frames.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavutil/hwcontext.h>
}

namespace vsockenc {
namespace {

// Surfaces made at the start; the driver may make more. An encoder that gives each frame's access
// unit at once holds one and its reference.
constexpr int kSurfaces = 4;

void Check(int result, const char *what) {
  if (result < 0) throw EncoderError(what + (": " + AvError(result)));
}

}  // namespace

HardwareFrames::HardwareFrames(AVCodecContext &context) {
  Check(av_hwdevice_ctx_create(&device_, AV_HWDEVICE_TYPE_VAAPI, nullptr, nullptr, 0),
        "no VAAPI device");
  try {
    frames_ = av_hwframe_ctx_alloc(device_);
    if (frames_ == nullptr) throw EncoderError("no memory for surfaces");
    auto &frames = *reinterpret_cast<AVHWFramesContext *>(frames_->data);
    frames.format = AV_PIX_FMT_VAAPI;
    frames.sw_format = AV_PIX_FMT_NV12;
    frames.width = context.width;
    frames.height = context.height;
    frames.initial_pool_size = kSurfaces;
    Check(av_hwframe_ctx_init(frames_), "no surfaces");
    context.hw_frames_ctx = av_buffer_ref(frames_);
    if (context.hw_frames_ctx == nullptr) throw EncoderError("no memory for surfaces");
    context.pix_fmt = AV_PIX_FMT_VAAPI;
  } catch (...) {
    // The destructor of an object that was never finished does not run.
    av_buffer_unref(&frames_);
    av_buffer_unref(&device_);
    throw;
  }
}

HardwareFrames::~HardwareFrames() {
  av_buffer_unref(&frames_);
  av_buffer_unref(&device_);
}

FramePointer HardwareFrames::Upload(const AVFrame &from) const {
  FramePointer surface(av_frame_alloc());
  if (!surface) throw EncoderError("no memory for a frame");
  Check(av_hwframe_get_buffer(frames_, surface.get(), 0), "no surface");
  Check(av_hwframe_transfer_data(surface.get(), &from, 0), "the upload failed");
  Check(av_frame_copy_props(surface.get(), &from), "no memory for a frame's properties");
  return surface;
}

}  // namespace vsockenc
