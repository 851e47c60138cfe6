#include "libav.h"

#include <cstdarg>
#include <cstdio>
#include <mutex>

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavutil/hwcontext.h>
#include <libavutil/log.h>
}

namespace vsockenc {
namespace {

constexpr size_t kMaxLogBytes = 1024;
// Surfaces allocated at the start; the driver may add more. An encoder that returns each access
// unit at once holds one and its reference.
constexpr int kSurfaces = 4;

thread_local std::string *collector = nullptr;

void Collect(void *, int level, const char *format, va_list arguments) {
  if (level > AV_LOG_ERROR || collector == nullptr || collector->size() >= kMaxLogBytes) return;
  char line[256];
  const int length = vsnprintf(line, sizeof line, format, arguments);
  if (length <= 0) return;
  std::string text(line);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  if (text.empty()) return;
  if (!collector->empty()) *collector += "; ";
  *collector += text;
}

void Check(int result, const char *what) {
  if (result < 0) throw EncoderError(what + (": " + AvError(result)));
}

}  // namespace

void FreeLibav::operator()(AVBufferRef *buffer) const {
  av_buffer_unref(&buffer);
}
void FreeLibav::operator()(AVCodecContext *context) const {
  avcodec_free_context(&context);
}
void FreeLibav::operator()(AVFrame *frame) const {
  av_frame_free(&frame);
}
void FreeLibav::operator()(AVPacket *packet) const {
  av_packet_free(&packet);
}

std::string AvError(int code) {
  char text[AV_ERROR_MAX_STRING_SIZE] = {};
  av_strerror(code, text, sizeof text);
  return text;
}

LavcLog::LavcLog() : outer_(collector) {
  static std::once_flag once;
  std::call_once(once, [] { av_log_set_callback(Collect); });
  collector = &messages_;
}

LavcLog::~LavcLog() {
  collector = outer_;
}

std::string LavcLog::Messages() const {
  return messages_.empty() ? "" : " (" + messages_ + ")";
}

HardwareFrames::HardwareFrames(AVCodecContext &context) {
  AVBufferRef *device = nullptr;
  Check(av_hwdevice_ctx_create(&device, AV_HWDEVICE_TYPE_VAAPI, nullptr, nullptr, 0),
        "no VAAPI device");
  device_.reset(device);
  frames_.reset(av_hwframe_ctx_alloc(device));
  if (!frames_) throw EncoderError("out of memory for surfaces");
  auto &frames = *reinterpret_cast<AVHWFramesContext *>(frames_->data);
  frames.format = AV_PIX_FMT_VAAPI;
  frames.sw_format = AV_PIX_FMT_NV12;
  frames.width = context.width;
  frames.height = context.height;
  frames.initial_pool_size = kSurfaces;
  Check(av_hwframe_ctx_init(frames_.get()), "cannot allocate surfaces");
  context.hw_frames_ctx = av_buffer_ref(frames_.get());
  if (context.hw_frames_ctx == nullptr) throw EncoderError("out of memory for surfaces");
  context.pix_fmt = AV_PIX_FMT_VAAPI;
}

FramePointer HardwareFrames::Upload(const AVFrame &from) const {
  FramePointer surface(av_frame_alloc());
  if (!surface) throw EncoderError("out of memory for a frame");
  Check(av_hwframe_get_buffer(frames_.get(), surface.get(), 0), "no free surface");
  Check(av_hwframe_transfer_data(surface.get(), &from, 0), "the upload failed");
  Check(av_frame_copy_props(surface.get(), &from), "out of memory for a frame's properties");
  return surface;
}

}  // namespace vsockenc
