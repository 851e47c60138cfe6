#include "software_encoder.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "bitstream.h"
#include "object.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavutil/opt.h>
}

namespace vt_shim {
namespace {

// Code points of ISO/IEC 23091-2 for the values of CoreVideo's attachments; 2: unspecified.
int CodePoint(const std::map<std::string, int> &points, const std::string &name) {
  const auto found = points.find(name);
  return found == points.end() ? 2 : found->second;
}
const std::map<std::string, int> kPrimaries = {
    {"ITU_R_709_2", 1}, {"EBU_3213", 5}, {"SMPTE_C", 6}, {"ITU_R_2020", 9}, {"P3_D65", 12}};
const std::map<std::string, int> kTransfers = {
    {"ITU_R_709_2", 1}, {"SMPTE_240M_1995", 7},   {"Linear", 8},         {"IEC_sRGB", 13},
    {"ITU_R_2020", 14}, {"SMPTE_ST_2084_PQ", 16}, {"ITU_R_2100_HLG", 18}};
const std::map<std::string, int> kMatrices = {
    {"ITU_R_709_2", 1}, {"ITU_R_601_4", 6}, {"SMPTE_240M_1995", 7}, {"ITU_R_2020", 9}};

// A failure here is not the caller's fault.
void Require(bool condition, const char *what) {
  if (!condition) Violation(std::string("the shim's own encoder: ") + what);
}

void SetOption(AVCodecContext *context, const char *name, const char *value) {
  Require(av_opt_set(context->priv_data, name, value, 0) >= 0, name);
}

void Configure(AVCodecContext *context, const EncoderConfig &config) {
  SetOption(context, "preset", "ultrafast");
  SetOption(context, "forced-idr", "1");
  if (!config.reordering) SetOption(context, "tune", "zerolatency");
  if (config.codec == kCMVideoCodecType_HEVC) {
    std::string options = "log-level=none:info=0:pools=1:frame-threads=1:open-gop=";
    options += config.open_gop ? "1" : "0";
    SetOption(context, "x265-params", options.c_str());
  } else if (config.profile.starts_with("H264_High")) {
    // The preset leaves out what makes a stream Main or High.
    SetOption(context, "x264-params", "cabac=1:8x8dct=1");
  } else if (config.profile.starts_with("H264_Main")) {
    SetOption(context, "x264-params", "cabac=1");
  }
}

}  // namespace

void SoftwareEncoder::Free::operator()(AVCodecContext *context) const {
  avcodec_free_context(&context);
}
void SoftwareEncoder::Free::operator()(AVFrame *frame) const {
  av_frame_free(&frame);
}

SoftwareEncoder::SoftwareEncoder(const EncoderConfig &config) : config_(config) {
  const bool h264 = config.codec == kCMVideoCodecType_H264;
  const AVCodec *codec = avcodec_find_encoder_by_name(h264 ? "libx264" : "libx265");
  Require(codec != nullptr, "libavcodec has no libx264 or libx265");
  context_.reset(avcodec_alloc_context3(codec));
  AVCodecContext *context = context_.get();
  context->log_level_offset = AV_LOG_INFO - AV_LOG_ERROR;  // only errors are worth reading
  context->width = config.width;
  context->height = config.height;
  // The format that each reads without converting it.
  context->pix_fmt = h264 ? AV_PIX_FMT_NV12 : AV_PIX_FMT_YUV420P;
  context->framerate = av_d2q(config.frame_rate, 1000000);
  context->time_base = av_inv_q(context->framerate);
  context->bit_rate = config.bits_per_second;
  if (config.bits_per_second > 0) {
    context->rc_max_rate = config.bits_per_second;
    context->rc_buffer_size =
        static_cast<int>(std::min<int64_t>(config.bits_per_second, 1'000'000'000));
  }
  if (config.key_frame_interval > 0) {
    context->gop_size = static_cast<int>(std::min<int64_t>(config.key_frame_interval, 1'000'000));
  }
  context->max_b_frames = config.reordering ? 2 : 0;
  context->thread_count = 1;
  context->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
  context->color_range = config.full_range ? AVCOL_RANGE_JPEG : AVCOL_RANGE_MPEG;
  context->color_primaries = static_cast<AVColorPrimaries>(CodePoint(kPrimaries, config.primaries));
  context->color_trc =
      static_cast<AVColorTransferCharacteristic>(CodePoint(kTransfers, config.transfer));
  context->colorspace = static_cast<AVColorSpace>(CodePoint(kMatrices, config.matrix));
  Configure(context, config);
  Require(avcodec_open2(context, codec, nullptr) >= 0, "it does not open");

  frame_.reset(av_frame_alloc());
}

SoftwareEncoder::~SoftwareEncoder() = default;

std::vector<EncodedUnit> SoftwareEncoder::Encode(const Picture &picture, int64_t index, bool key) {
  AVFrame *frame = frame_.get();
  frame->format = context_->pix_fmt;
  frame->width = config_.width;
  frame->height = config_.height;
  frame->pts = index;
  frame->pict_type = key ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_NONE;
  Picture input(context_->pix_fmt, config_.full_range, config_.width, config_.height);
  if (picture.format == input.format && picture.full_range == input.full_range) {
    // libx264 copies what it needs before it returns, so there is nothing to free later.
    const auto nothing = [](void *, uint8_t *) {};
    frame->buf[0] = av_buffer_create(picture.data[0], 1, nothing, nullptr, 0);
    Require(frame->buf[0] != nullptr, "no memory for a frame");
    std::copy_n(picture.data, 4, frame->data);
    std::copy_n(picture.stride, 4, frame->linesize);
  } else {
    Require(av_frame_get_buffer(frame, 0) >= 0, "no memory for a frame");
    std::copy_n(frame->data, 4, input.data);
    std::copy_n(frame->linesize, 4, input.stride);
    Require(Convert(picture, input, config_.matrix), "conversion of the input");
  }
  Require(avcodec_send_frame(context_.get(), frame) >= 0, "it does not take a frame");
  av_frame_unref(frame);
  return Receive();
}

std::vector<EncodedUnit> SoftwareEncoder::Drain() {
  Require(avcodec_send_frame(context_.get(), nullptr) >= 0, "it does not drain");
  return Receive();
}

std::vector<EncodedUnit> SoftwareEncoder::Receive() {
  std::vector<EncodedUnit> units;
  AVPacket *packet = av_packet_alloc();
  while (avcodec_receive_packet(context_.get(), packet) == 0) {
    units.push_back({packet->pts,
                     {packet->data, packet->data + packet->size},
                     (packet->flags & AV_PKT_FLAG_KEY) != 0});
    av_packet_unref(packet);
  }
  av_packet_free(&packet);
  return units;
}

bool SoftwareEncoder::SetBitRate(int64_t bits_per_second) {
  if (config_.codec != kCMVideoCodecType_H264 || bits_per_second == 0) return false;
  context_->bit_rate = context_->rc_max_rate = bits_per_second;
  context_->rc_buffer_size = static_cast<int>(std::min<int64_t>(bits_per_second, 1'000'000'000));
  return true;
}

std::vector<std::vector<uint8_t>> SoftwareEncoder::ParameterSets() const {
  std::vector<std::vector<uint8_t>> sets;
  const auto size = static_cast<size_t>(context_->extradata_size);
  for (const NalUnit unit : SplitAnnexB({context_->extradata, size})) {
    if (IsParameterSet(config_.codec, unit)) sets.emplace_back(unit.begin(), unit.end());
  }
  return sets;
}

}  // namespace vt_shim
