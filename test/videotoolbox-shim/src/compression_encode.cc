// From a frame to its sample, on the session's thread.
#include <algorithm>
#include <cmath>

#include "bitstream.h"
#include "compression_session.h"
#include "counters.h"

using vt_shim::Job;
using vt_shim::JobPointer;
using vt_shim::Ref;

bool OpaqueVTCompressionSession::PropertyIsTrue(CFStringRef key, bool otherwise) const {
  const auto *value = vt_shim::As<__CFBoolean>(properties_->Find(key));
  return value == nullptr ? otherwise : value->value;
}

double OpaqueVTCompressionSession::PropertyNumber(CFStringRef key, double otherwise) const {
  const auto *value = vt_shim::As<__CFNumber>(properties_->Find(key));
  return value == nullptr ? otherwise : value->real();
}

std::string OpaqueVTCompressionSession::PropertyText(CFStringRef key) const {
  const auto *value = vt_shim::As<__CFString>(properties_->Find(key));
  return value == nullptr ? "" : std::string(value->view());
}

vt_shim::EncoderConfig OpaqueVTCompressionSession::ConfigLocked(bool full_range) const {
  vt_shim::EncoderConfig config{};
  config.codec = encoder_entry_.codec;
  config.width = dimensions_.width;
  config.height = dimensions_.height;
  config.profile = PropertyText(kVTCompressionPropertyKey_ProfileLevel);
  config.frame_rate = PropertyNumber(kVTCompressionPropertyKey_ExpectedFrameRate, 30);
  config.bits_per_second =
      static_cast<int64_t>(PropertyNumber(kVTCompressionPropertyKey_AverageBitRate, 0));
  config.key_frame_interval =
      static_cast<int64_t>(PropertyNumber(kVTCompressionPropertyKey_MaxKeyFrameInterval, 0));
  const double duration = PropertyNumber(kVTCompressionPropertyKey_MaxKeyFrameIntervalDuration, 0);
  if (duration > 0) {
    const auto frames = std::max<int64_t>(1, std::llround(duration * config.frame_rate));
    config.key_frame_interval =
        config.key_frame_interval == 0 ? frames : std::min(config.key_frame_interval, frames);
  }
  // Apple silicon makes every frame an IDR then.
  if (config.codec == kCMVideoCodecType_H264 &&
      PropertyNumber(kVTCompressionPropertyKey_ReferenceBufferCount, 0) == 1) {
    config.key_frame_interval = 1;
  }
  config.reordering = !encoder_entry_.low_latency &&
                      PropertyIsTrue(kVTCompressionPropertyKey_AllowFrameReordering, true);
  config.open_gop = PropertyIsTrue(kVTCompressionPropertyKey_AllowOpenGOP, true);
  config.full_range = full_range;
  config.primaries = PropertyText(kVTCompressionPropertyKey_ColorPrimaries);
  config.transfer = PropertyText(kVTCompressionPropertyKey_TransferFunction);
  config.matrix = PropertyText(kVTCompressionPropertyKey_YCbCrMatrix);
  return config;
}

void OpaqueVTCompressionSession::OpenEncoder(bool full_range) {
  {
    Lock lock(mutex_);
    config_ = ConfigLocked(full_range);
    new_bit_rate_.reset();
  }
  encoder_ = std::make_unique<vt_shim::SoftwareEncoder>(config_);
  auto sets = encoder_->ParameterSets();
  const auto own = std::find_if(sets.begin(), sets.end(), [this](const auto &set) {
    return vt_shim::IsPictureParameterSet(config_.codec, set);
  });
  if (own != sets.end()) {
    const std::vector<uint8_t> set = *own;
    for (unsigned id = 1; id <= sample_plan_.extra_sets; ++id) {
      sets.push_back(vt_shim::CopyPictureParameterSet(config_.codec, set, id));
    }
  }
  auto extensions = Ref<__CFDictionary>::Adopt(new __CFDictionary(false));
  const std::pair<CFStringRef, const std::string &> texts[] = {
      {kCMFormatDescriptionExtension_ColorPrimaries, config_.primaries},
      {kCMFormatDescriptionExtension_TransferFunction, config_.transfer},
      {kCMFormatDescriptionExtension_YCbCrMatrix, config_.matrix}};
  for (const auto &[key, text] : texts) {
    if (!text.empty()) {
      extensions->Set(key, Ref<__CFString>::Adopt(vt_shim::NewString(text)).get());
    }
  }
  extensions->Set(kCMFormatDescriptionExtension_FullRangeVideo,
                  full_range ? kCFBooleanTrue : kCFBooleanFalse);
  format_ = Ref<opaqueCMFormatDescription>::Adopt(
      new opaqueCMFormatDescription(config_.codec, dimensions_, std::move(sets),
                                    sample_plan_.nal_length_size, std::move(extensions)));
}

void OpaqueVTCompressionSession::Encode(const JobPointer &job) {
  const auto &backing = job->image->backing;
  const bool full_range = vt_shim::IsFullRange(backing.layout.format);
  std::optional<int64_t> bit_rate;
  bool drops = false;
  {
    Lock lock(mutex_);
    bit_rate.swap(new_bit_rate_);
    // What low-latency rate control makes of DataRateLimits.
    drops = encoder_entry_.low_latency && job->index % 5 == 4 &&
            properties_->Find(kVTCompressionPropertyKey_DataRateLimits) != nullptr;
  }
  if (drops) {
    Deliver(job, noErr, kVTEncodeInfo_FrameDropped, nullptr);
    return;
  }
  const bool stale =
      encoder_ != nullptr && (config_.full_range != full_range ||
                              (bit_rate.has_value() && !encoder_->SetBitRate(*bit_rate)));
  if (stale) {
    DeliverUnits(encoder_->Drain());
  }
  if (stale || encoder_ == nullptr) {
    OpenEncoder(full_range);
  }
  DeliverUnits(encoder_->Encode({backing.layout, backing.pixels.get()}, job->index, job->key));
}

void OpaqueVTCompressionSession::DrainEncoder() {
  if (encoder_ != nullptr) {
    DeliverUnits(encoder_->Drain());
    encoder_.reset();
  }
}

void OpaqueVTCompressionSession::DeliverUnits(const std::vector<vt_shim::EncodedUnit> &units) {
  for (const auto &unit : units) {
    JobPointer job;
    {
      Lock lock(mutex_);
      job = pending_.at(unit.index);
    }
    vt_shim::Count().key_frames += unit.key ? 1 : 0;
    const auto sample = MakeSample(*job, unit);
    Deliver(job, noErr, 0, sample.get());
  }
}

Ref<opaqueCMSampleBuffer> OpaqueVTCompressionSession::MakeSample(
    const Job &job, const vt_shim::EncodedUnit &unit) const {
  std::vector<vt_shim::NalUnit> units = vt_shim::SplitAnnexB(unit.bytes);
  std::erase_if(
      units, [this](vt_shim::NalUnit nal) { return vt_shim::IsParameterSet(config_.codec, nal); });
  std::vector<uint8_t> bytes = vt_shim::WithLengths(units, sample_plan_.nal_length_size);
  if (job.plan.malformed) {
    bytes.pop_back();
  }
  auto sample = Ref<opaqueCMSampleBuffer>::Adopt(new opaqueCMSampleBuffer);
  sample->data = Ref<OpaqueCMBlockBuffer>::Adopt(
      new OpaqueCMBlockBuffer(std::move(bytes), sample_plan_.piece_size));
  sample->format = format_;
  sample->pts = job.pts;
  sample->duration = job.duration;
  sample->dts = sample_plan_.valid_dts.value_or(config_.reordering) ? job.pts : kCMTimeInvalid;

  using NotSync = vt_shim::SamplePlan::NotSync;
  if (unit.key && sample_plan_.not_sync == NotSync::kNoArray) {
    return sample;
  }
  auto attachments = Ref<__CFDictionary>::Adopt(new __CFDictionary(true));
  if (!unit.key) {
    attachments->Set(kCMSampleAttachmentKey_NotSync, kCFBooleanTrue);
  } else if (sample_plan_.not_sync == NotSync::kFalse) {
    attachments->Set(kCMSampleAttachmentKey_NotSync, kCFBooleanFalse);
  }
  attachments->Set(kCMSampleAttachmentKey_DependsOnOthers,
                   unit.key ? kCFBooleanFalse : kCFBooleanTrue);
  sample->attachments = Ref<__CFArray>::Adopt(new __CFArray(false));
  sample->attachments->values.push_back(vt_shim::AnyRef::Adopt(attachments.Give()));
  return sample;
}
