#include "lavc_encoder.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>

#include "../bitstream/sps_vui.h"
#include "../memory/staging.h"
#include "../picture/convert.h"
#include "libav.h"

extern "C" {
#include <libavutil/dict.h>
#include <libavutil/hwcontext.h>
#include <libavutil/log.h>
}

namespace vsockenc {
namespace {

constexpr size_t kMaxLogBytes = 1024;

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

// Collects what libav logs as an error on this thread, because return codes alone rarely explain a
// failure. Nothing is ever written to standard error, which belongs to the program.
class LavcLog {
 public:
  LavcLog() : outer_(collector) {
    static std::once_flag once;
    std::call_once(once, [] { av_log_set_callback(Collect); });
    collector = &messages_;
  }
  ~LavcLog() { collector = outer_; }
  LavcLog(const LavcLog &) = delete;
  LavcLog &operator=(const LavcLog &) = delete;

  // " (…)" with the messages so far, or nothing.
  std::string Messages() const { return messages_.empty() ? "" : " (" + messages_ + ")"; }

 private:
  std::string *outer_;
  std::string messages_;
};

// libav's message for one of its error codes.
std::string AvError(int code) {
  char text[AV_ERROR_MAX_STRING_SIZE] = {};
  av_strerror(code, text, sizeof text);
  return text;
}

// x264's X264_KEYINT_MAX_INFINITE: no encoder inserts key frames by itself (see Keyframes).
constexpr int kEndlessGop = 1 << 30;

void SetRate(AVCodecContext &context, const Rates &rates) {
  context.bit_rate = rates.bits_per_second;
  context.rc_max_rate = rates.peak_bits_per_second;
  context.rc_buffer_size = rates.buffer_bits;
}

// Converter sites chroma of RGB in the middle of four pixels. For NV12 and I420 the location is
// unknown, so it is the usual one.
AVChromaLocation ChromaLocation(const LavcSettings &settings) {
  return settings.rgb ? AVCHROMA_LOC_CENTER : AVCHROMA_LOC_LEFT;
}

H264Vui VuiOf(const LavcSettings &settings) {
  return {.aspect = settings.pixel_aspect_ratio,
          .colour = settings.colour,
          .chroma_location = ChromaLocation(settings) - AVCHROMA_LOC_LEFT,
          .framerate = settings.fixed_rate ? std::optional(settings.framerate) : std::nullopt};
}

AVPixelFormat FrameFormat(EncoderInput input) {
  return input == EncoderInput::kI420 ? AV_PIX_FMT_YUV420P : AV_PIX_FMT_NV12;
}

// avcodec_open2 takes the options that it knows out of the dictionary.
void OpenCodec(AVCodecContext *context, const AVCodec *codec, const LavcSettings &settings) {
  AVDictionary *raw = nullptr;
  for (const auto &[key, value] : settings.options) {
    av_dict_set(&raw, key.c_str(), value.c_str(), 0);
  }
  const int result = avcodec_open2(context, codec, &raw);
  const std::unique_ptr<AVDictionary, FreeLibav<av_dict_free>> unknown(raw);
  if (result < 0) throw EncoderError(AvError(result));
  if (const AVDictionaryEntry *one =
          av_dict_get(unknown.get(), "", nullptr, AV_DICT_IGNORE_SUFFIX)) {
    throw EncoderError(std::string("unknown option ") + one->key);
  }
}

const Picture &PictureOf(const FrameSource &source) {
  if (const auto *picture = std::get_if<std::shared_ptr<const Picture>>(&source)) return **picture;
  throw PictureError(PictureFault::kUnsupportedFormat,
                     "libavcodec's encoders do not read IOSurfaces");
}

AccessUnit UnitOf(PacketPointer packet) {
  const std::span<const uint8_t> bytes(packet->data, static_cast<size_t>(packet->size));
  const bool key = (packet->flags & AV_PKT_FLAG_KEY) != 0;
  return {.bytes = bytes, .owner = std::shared_ptr<AVPacket>(std::move(packet)), .key = key};
}

// Surfaces allocated at the start; the driver may add more. An encoder that returns each access
// unit at once holds one and its reference.
constexpr int kSurfaces = 4;

void Check(int result, const std::string &what) {
  if (result < 0) throw EncoderError(what + (": " + AvError(result)));
}

// GPU surfaces for an encoder that reads nothing else (VAAPI), and the upload of NV12 to them, as
// FFmpeg's hwupload filter does it.
//
// Only the absence of a device is tested: the upload is untested (no such GPU available).
class HardwareFrames {
 public:
  // Opens the device, by default libva's choice, and makes `context` take its surfaces; call it
  // before avcodec_open2. Throws EncoderError.
  HardwareFrames(AVCodecContext &context, const std::string &path) {
    AVBufferRef *device = nullptr;
    const int result = av_hwdevice_ctx_create(&device, AV_HWDEVICE_TYPE_VAAPI,
                                              path.empty() ? nullptr : path.c_str(), nullptr, 0);
    Check(result, path.empty() ? "no VAAPI device" : "no VAAPI device " + path);
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

  // Copies a frame of NV12 to a surface, with its time stamp and type. Throws EncoderError.
  FramePointer Upload(const AVFrame &from) const {
    FramePointer surface(av_frame_alloc());
    if (!surface) throw EncoderError("out of memory for a frame");
    Check(av_hwframe_get_buffer(frames_.get(), surface.get(), 0), "no free surface");
    Check(av_hwframe_transfer_data(surface.get(), &from, 0), "the upload failed");
    Check(av_frame_copy_props(surface.get(), &from), "out of memory for a frame's properties");
    return surface;
  }

 private:
  BufferPointer device_;
  BufferPointer frames_;
};

// One libavcodec encoder that returns the access unit of a frame before it takes the next one.
class LavcEncoder : public SessionEncoder {
 public:
  // Throws EncoderError.
  LavcEncoder(LavcSettings settings, EventSink &sink)
      : settings_(std::move(settings)),
        sink_(sink),
        converter_(settings_.colour.full_range),
        keyframes_(settings_.keyframe_interval),
        frame_(av_frame_alloc()) {
    if (!frame_) throw EncoderError(settings_.name + ": out of memory");
    Open();
  }

  void Encode(FrameRequest request) override {
    const auto started = FrameClock::now();
    bool read = false;
    const auto release = [&] {
      if (std::exchange(read, true)) return;
      request.source = {};
      sink_.On(event::Read{request.frame});
    };
    try {
      converter_.Convert(PictureOf(request.source).Read(staging_), WritableFrame());
      const auto converted = FrameClock::now();
      release();
      const auto passed = FrameClock::now();
      AccessUnit unit = UnitOf(EncodeFrame(keyframes_.Due(request.force_key)));
      keyframes_.Count(unit.key);
      const FrameTimes times{.queue_us = Microseconds(started - request.queued),
                             .convert_us = Microseconds(converted - started),
                             .encode_us = Microseconds(FrameClock::now() - passed)};
      sink_.On(event::Packet{request.frame, std::move(unit), times});
    } catch (const PictureError &error) {
      // The encoder has not seen this frame, so the stream can continue with the next one.
      release();
      sink_.On(event::FrameFailed{request.frame, error.what()});
    } catch (const std::exception &error) {
      release();
      sink_.On(event::FrameFailed{request.frame, error.what()});
      failure_ = error.what();
    }
  }

  // libx264 and NVENC compare the context's rates with their own before every frame and reconfigure
  // themselves; the other encoders never read them again, so they are re-opened, and the next frame
  // is a key frame.
  void SetRates(const Rates &rates, int keyframe_interval) override {
    keyframes_.SetInterval(keyframe_interval);
    if (rates == settings_.rates) return;
    settings_.rates = rates;
    if (settings_.live_rate) {
      SetRate(*context_, rates);
      return;
    }
    context_.reset();
    hardware_.reset();
    try {
      Open();
    } catch (const std::exception &error) {
      failure_ = error.what();
    }
  }

  void Finish() override {}
  FrameClock::time_point Tend() override { return FrameClock::time_point::max(); }
  const std::optional<std::string> &failure() const override { return failure_; }

 private:
  void Open() {
    const LavcLog log;
    const AVCodec *codec = avcodec_find_encoder_by_name(settings_.name.c_str());
    if (codec == nullptr) {
      throw EncoderError(settings_.name + ": this libavcodec was built without it");
    }
    context_.reset(avcodec_alloc_context3(codec));
    if (!context_) throw EncoderError(settings_.name + ": out of memory");

    AVCodecContext &context = *context_;
    context.width = RoundUpToEven(settings_.width);
    context.height = RoundUpToEven(settings_.height);
    context.pix_fmt = FrameFormat(settings_.input);
    // One tick a frame: see Encode.
    context.framerate = {settings_.framerate.numerator, settings_.framerate.denominator};
    context.time_base = {settings_.framerate.denominator, settings_.framerate.numerator};
    context.sample_aspect_ratio = {settings_.pixel_aspect_ratio.numerator,
                                   settings_.pixel_aspect_ratio.denominator};
    context.gop_size = kEndlessGop;
    context.max_b_frames = 0;
    // Frame threads would hold back a frame each; slices cost a little quality instead.
    context.thread_count = settings_.threads;
    context.thread_type = FF_THREAD_SLICE;
    // No AV_CODEC_FLAG_GLOBAL_HEADER: parameter sets are in the stream, before every IDR.
    context.flags |= AV_CODEC_FLAG_CLOSED_GOP;
    context.color_primaries = static_cast<AVColorPrimaries>(settings_.colour.primaries);
    context.color_trc = static_cast<AVColorTransferCharacteristic>(settings_.colour.transfer);
    context.colorspace = static_cast<AVColorSpace>(settings_.colour.matrix);
    context.color_range = settings_.colour.full_range ? AVCOL_RANGE_JPEG : AVCOL_RANGE_MPEG;
    context.chroma_sample_location = ChromaLocation(settings_);
    SetRate(context, settings_.rates);
    try {
      if (settings_.input == EncoderInput::kVaapi) {
        hardware_ = std::make_unique<HardwareFrames>(context, settings_.device);
      }
      OpenCodec(&context, codec, settings_);
    } catch (const EncoderError &error) {
      throw EncoderError(settings_.name + " does not open: " + error.what() + log.Messages());
    }
  }

  // The frame that EncodeFrame takes, yuv420p or nv12, with a buffer of its own.
  AVFrame &WritableFrame() {
    // An encoder may still be reading the last frame; a new buffer is cheaper than waiting or
    // copying.
    if (frame_->buf[0] == nullptr || av_frame_is_writable(frame_.get()) == 0) {
      av_frame_unref(frame_.get());
      frame_->format = FrameFormat(settings_.input);
      frame_->width = context_->width;
      frame_->height = context_->height;
      const int result = av_frame_get_buffer(frame_.get(), 0);
      if (result < 0) throw EncoderError("out of memory for a frame: " + AvError(result));
      frame_->color_primaries = context_->color_primaries;
      frame_->color_trc = context_->color_trc;
      frame_->colorspace = context_->colorspace;
      frame_->color_range = context_->color_range;
    }
    return *frame_;
  }

  // Encodes frame_; `key` makes it an IDR.
  // The encoder gets frame numbers instead of time stamps, so each frame has its share of the
  // nominal rate. x264 without B frames, look-ahead and delay (tune zerolatency) does not use time
  // stamps for rate control: its variable-rate mode (b_vfr_input) needs the next frame first, which
  // is a frame of latency. Packets come out in order, one per frame, so the stream's time stamps
  // need not pass through here.
  PacketPointer EncodeFrame(bool key) {
    const LavcLog log;
    frame_->pts = next_pts_++;
    frame_->pict_type = key ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_NONE;
    const FramePointer surface = hardware_ ? hardware_->Upload(*frame_) : nullptr;
    int result = avcodec_send_frame(context_.get(), surface ? surface.get() : frame_.get());
    if (result < 0)
      throw EncoderError("the encoder rejects a frame: " + AvError(result) + log.Messages());

    PacketPointer packet(av_packet_alloc());
    if (!packet) throw EncoderError("out of memory for a packet");
    result = avcodec_receive_packet(context_.get(), packet.get());
    if (result == AVERROR(EAGAIN)) {
      throw EncoderError("the encoder delays frames; it is not configured for zero latency");
    }
    if (result < 0) throw EncoderError("the encoder failed: " + AvError(result) + log.Messages());
    if (packet->pts != frame_->pts) {
      throw EncoderError("the encoder returned the access unit of another frame");
    }
    RewriteParameterSets(*packet);
    return packet;
  }

  // Writes the configured VUI into the parameter sets of H.264.
  // Encoders differ in the VUI that they can write: x264 claims a fixed rate whenever it counts
  // frames, drivers of hardware write what they like. A parameter set that cannot be parsed stays
  // as it is: a stream with the encoder's own VUI is better than none.
  void RewriteParameterSets(AVPacket &packet) const {
    if (context_->codec_id != AV_CODEC_ID_H264 || (packet.flags & AV_PKT_FLAG_KEY) == 0) return;
    const auto rewritten =
        RewriteAccessUnit({packet.data, static_cast<size_t>(packet.size)}, VuiOf(settings_));
    if (!rewritten) return;
    AVBufferRef *buffer = av_buffer_alloc(rewritten->size() + AV_INPUT_BUFFER_PADDING_SIZE);
    if (buffer == nullptr) throw EncoderError("out of memory for a packet");
    std::copy(rewritten->begin(), rewritten->end(), buffer->data);
    std::fill_n(buffer->data + rewritten->size(), AV_INPUT_BUFFER_PADDING_SIZE, uint8_t{0});
    av_buffer_unref(&packet.buf);
    packet.buf = buffer;
    packet.data = buffer->data;
    packet.size = static_cast<int>(rewritten->size());
  }

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

}  // namespace

EncoderFactory OpenLavc(LavcSettings settings) {
  return [settings = std::move(settings)](EventSink &sink) {
    return std::make_unique<LavcEncoder>(settings, sink);
  };
}

}  // namespace vsockenc
