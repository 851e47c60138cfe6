#include "compression_session.h"

#include <algorithm>
#include <cmath>

#include "bitstream.h"

using namespace vt_shim;
using Outcome = FramePlan::Outcome;
using Clock = std::chrono::system_clock;

namespace {

// Errors after which a session never encodes again.
bool IsFinal(OSStatus status) {
  return status == kVTInvalidSessionErr || status == kVTVideoEncoderMalfunctionErr ||
         status == kVTSessionMalfunctionErr;
}

}  // namespace

OpaqueVTCompressionSession::OpaqueVTCompressionSession(const EncoderEntry &encoder, Size size,
                                                       SessionPlan session_plan,
                                                       VTCompressionOutputCallback output,
                                                       void *output_context,
                                                       Ref<__CVPixelBufferPool> buffers)
    : encoder_entry_(encoder),
      size_(size),
      plan_(std::move(session_plan)),
      callback_(output),
      refcon_(output_context),
      pool_(std::move(buffers)),
      sample_plan_(CurrentSamplePlan()) {
  Lock lock(mutex_);
  thread_ = std::thread([this] { Run(); });
  thread_id_ = thread_.get_id();
}

OpaqueVTCompressionSession::~OpaqueVTCompressionSession() {
  if (std::this_thread::get_id() == thread_id_) {
    Violation("the last reference to a VTCompressionSession goes in its own callback");
  }
  Invalidate();
}

std::string OpaqueVTCompressionSession::Describe() const {
  return "VTCompressionSession " + encoder_entry_.id();
}
Clock::time_point OpaqueVTCompressionSession::Deadline() const {
  return Clock::now() + std::chrono::milliseconds(plan_.patience_ms);
}

void OpaqueVTCompressionSession::Invalidate() {
  if (std::this_thread::get_id() == thread_id_) {
    Violation("VTCompressionSessionInvalidate in the session's own callback waits for itself");
  }
  Lock lock(mutex_);
  invalid_ = true;
  changed_.notify_all();
  if (!changed_.wait_until(lock, Deadline(), [this] { return finished_; })) {
    Violation(
        "VTCompressionSessionInvalidate: a callback does not return; is a lock held that it "
        "needs?");
  }
  if (thread_.joinable()) {
    std::thread thread = std::move(thread_);
    lock.unlock();
    thread.join();
    lock.lock();
    pool_ = {};
  }
}

OSStatus OpaqueVTCompressionSession::StateLocked() const {
  return invalid_ ? OSStatus{kVTInvalidSessionErr} : broken_;
}

void OpaqueVTCompressionSession::CheckTimeLocked(CMTime pts) const {
  if (!CMTIME_IS_NUMERIC(pts)) {
    Violation("VTCompressionSessionEncodeFrame: the presentation time is no number");
  }
  if (CMTIME_IS_VALID(last_pts_) && CMTimeCompare(pts, last_pts_) <= 0) {
    Violation("VTCompressionSessionEncodeFrame: the presentation time " +
              std::to_string(CMTimeGetSeconds(pts)) + " s does not follow " +
              std::to_string(CMTimeGetSeconds(last_pts_)) + " s");
  }
}

void OpaqueVTCompressionSession::WaitForRoomLocked(Lock &lock, int block_ms) {
  if (block_ms > 0) {
    const auto until = Clock::now() + std::chrono::milliseconds(block_ms);
    changed_.wait_until(lock, until, [this] { return invalid_; });
  }
  if (std::this_thread::get_id() != thread_id_) {
    changed_.wait(lock, [this] { return invalid_ || pending_.size() < plan_.pending_limit; });
  }
}

void OpaqueVTCompressionSession::WaitForCallbackLocked(Lock &lock, const Job &job) {
  if (!changed_.wait_until(lock, Deadline(), [&] { return job.done || invalid_ || silent_; })) {
    Violation(
        "VTCompressionSessionEncodeFrame: the callback, which came before the return, does not "
        "end; is a lock held that it needs?");
  }
}

OSStatus OpaqueVTCompressionSession::EncodeFrame(CVImageBufferRef image, CMTime pts, bool key,
                                                 void *refcon) {
  const auto begun = std::chrono::steady_clock::now();
  auto &buffer = Check(image, "VTCompressionSessionEncodeFrame");
  Lock lock(mutex_);
  if (StateLocked() != noErr) return StateLocked();
  CheckTimeLocked(pts);
  const auto &layout = buffer.backing.layout;
  if (layout.width != static_cast<size_t>(size_.width) ||
      layout.height != static_cast<size_t>(size_.height)) {
    Violation("VTCompressionSessionEncodeFrame: the picture has " + std::to_string(layout.width) +
              "x" + std::to_string(layout.height) + " pixels, the session another size");
  }
  if (LibavFormat(layout.format) == AV_PIX_FMT_NONE) {
    return kVTPixelTransferNotSupportedErr;
  }
  const FramePlan plan = NextFramePlan();
  const bool tagged = !buffer.AttachmentText(kCVImageBufferYCbCrMatrixKey).empty() &&
                      !buffer.AttachmentText(kCVImageBufferColorPrimariesKey).empty() &&
                      !buffer.AttachmentText(kCVImageBufferTransferFunctionKey).empty();
  ++Count().frames_submitted;
  Count().converted_frames += IsBiPlanar(layout.format) ? 0 : 1;
  Count().forced_key_frames += key ? 1 : 0;
  Count().untagged_frames += tagged ? 0 : 1;
  WaitForRoomLocked(lock, plan.block_ms);
  if (StateLocked() != noErr) return StateLocked();
  if (plan.callback) {
    last_pts_ = pts;
    auto job = std::make_shared<Job>(
        Job{next_index_++, Ref<__CVBuffer>::Share(&buffer),
            plan_.reads_input ? Checksum(layout, buffer.backing.pixels.get()) : 0, pts, key, refcon,
            plan, Clock::now() + std::chrono::milliseconds(plan.delay_ms), begun});
    buffer.AddEncoding(1);
    pending_[job->index] = job;
    queue_.push_back(job);
    changed_.notify_all();
    if (plan.early && std::this_thread::get_id() != thread_id_) WaitForCallbackLocked(lock, *job);
  } else if (IsFinal(plan.return_status)) {
    broken_ = plan.return_status;
  }
  return plan.return_status;
}

bool OpaqueVTCompressionSession::WaitingForLocked(CMTime until) const {
  return std::any_of(pending_.begin(), pending_.end(), [until](const auto &entry) {
    return !CMTIME_IS_NUMERIC(until) || CMTimeCompare(entry.second->pts, until) <= 0;
  });
}

OSStatus OpaqueVTCompressionSession::CompleteFrames(CMTime until) {
  if (std::this_thread::get_id() == thread_id_) {
    Violation("VTCompressionSessionCompleteFrames in the session's own callback waits for itself");
  }
  Lock lock(mutex_);
  if (StateLocked() != noErr && pending_.empty()) return StateLocked();
  draining_ = true;
  changed_.notify_all();
  const bool completed =
      changed_.wait_until(lock, Deadline(), [&] { return invalid_ || !WaitingForLocked(until); });
  draining_ = false;
  if (!completed) {
    Violation(silent_ ? "VTCompressionSessionCompleteFrames waits for an encoder that answers no "
                        "more: invalidate it instead"
                      : "VTCompressionSessionCompleteFrames: a callback does not return; is a lock "
                        "held that it needs?");
  }
  return StateLocked();
}

OSStatus OpaqueVTCompressionSession::State() {
  Lock lock(mutex_);
  return StateLocked();
}

CVPixelBufferPoolRef OpaqueVTCompressionSession::Pool() {
  Lock lock(mutex_);
  return invalid_ ? nullptr : pool_.get();
}

void OpaqueVTCompressionSession::DiscardPending() {
  std::map<int64_t, JobPointer> discarded;
  {
    Lock lock(mutex_);
    discarded.swap(pending_);
    queue_.clear();
  }
  for (const auto &[index, job] : discarded) {
    if (plan_.invalidate_flushes) {
      Deliver(job, kVTInvalidSessionErr, 0, nullptr);
      continue;
    }
    ++Count().frames_discarded;
    job->image->AddEncoding(-1);
    job->image = {};
  }
}

void OpaqueVTCompressionSession::Run() {
  Lock lock(mutex_);
  while (!invalid_) {
    if (silent_) {
      changed_.wait(lock, [this] { return invalid_; });
    } else if (!queue_.empty()) {
      const JobPointer job = queue_.front();
      const auto interrupted = [this] { return invalid_; };
      if (!changed_.wait_until(lock, job->due, interrupted)) {
        if (job->plan.silent) {
          silent_ = true;
          changed_.notify_all();
          continue;
        }
        queue_.pop_front();
        lock.unlock();
        Process(job);
        lock.lock();
      }
    } else if (draining_ && !pending_.empty()) {
      lock.unlock();
      DrainEncoder();
      lock.lock();
    } else {
      changed_.wait(lock);
    }
  }
  lock.unlock();
  DiscardPending();
  lock.lock();
  finished_ = true;
  changed_.notify_all();
}

void OpaqueVTCompressionSession::Process(const JobPointer &job) {
  OSStatus broken = noErr;
  {
    Lock lock(mutex_);
    if (job->plan.outcome == Outcome::kFail && IsFinal(job->plan.status)) {
      broken_ = job->plan.status;
    }
    broken = broken_;
  }
  if (broken != noErr) {
    Deliver(job, broken, 0, nullptr);
    return;
  }
  const auto outcome = job->plan.outcome;
  if (outcome == Outcome::kEncode) {
    Encode(job);
  } else {
    Deliver(job, outcome == Outcome::kFail ? job->plan.status : OSStatus{noErr},
            outcome == Outcome::kDropped ? VTEncodeInfoFlags{kVTEncodeInfo_FrameDropped} : 0,
            nullptr);
  }
}

void OpaqueVTCompressionSession::Deliver(const JobPointer &job, OSStatus status,
                                         VTEncodeInfoFlags flags, CMSampleBufferRef sample) {
  const auto &backing = job->image->backing;
  if (plan_.reads_input && Checksum(backing.layout, backing.pixels.get()) != job->checksum) {
    Violation("the pixel buffer of frame " + std::to_string(job->index) +
              " was overwritten before its callback");
  }
  job->image->AddEncoding(-1);
  job->image = {};
  ++(status != noErr     ? Count().frames_failed
     : sample == nullptr ? Count().frames_dropped
                         : Count().frames_encoded);
  const std::chrono::nanoseconds encoding = std::chrono::steady_clock::now() - job->begun;
  Count().encoding_ns += static_cast<uint64_t>(encoding.count());
  callback_(refcon_, job->refcon, status, flags, sample);
  Lock lock(mutex_);
  pending_.erase(job->index);
  job->done = true;
  changed_.notify_all();
}

// --- properties

bool OpaqueVTCompressionSession::PropertyIsFalse(CFStringRef key) const {
  const auto *value = As<__CFBoolean>(properties_.Find(key));
  return value != nullptr && !value->value;
}

double OpaqueVTCompressionSession::PropertyNumber(CFStringRef key, double otherwise) const {
  const auto *value = As<__CFNumber>(properties_.Find(key));
  return value == nullptr ? otherwise : value->real();
}

std::string OpaqueVTCompressionSession::PropertyText(CFStringRef key) const {
  const auto *value = As<__CFString>(properties_.Find(key));
  return value == nullptr ? "" : std::string(value->view());
}

OSStatus OpaqueVTCompressionSession::SetProperty(CFStringRef key, CFTypeRef value) {
  Lock lock(mutex_);
  if (StateLocked() != noErr) return StateLocked();
  const OSStatus status = CheckProperty(encoder_entry_, plan_, key, value);
  if (status != noErr) return status;
  if (value == nullptr) {
    properties_.Remove(key);
    return noErr;
  }
  properties_.Set(key, value);
  if (CFEqual(key, kVTCompressionPropertyKey_AverageBitRate)) {
    new_bit_rate_ = static_cast<int64_t>(PropertyNumber(key));
  }
  return noErr;
}

OSStatus OpaqueVTCompressionSession::CopyProperty(CFStringRef key, CFTypeRef *value) {
  Lock lock(mutex_);
  if (StateLocked() != noErr) return StateLocked();
  *value = nullptr;
  const OSStatus status = CheckReadable(encoder_entry_, plan_, key);
  if (status != noErr ||
      std::ranges::find(plan_.unset_keys, key->view()) != plan_.unset_keys.end()) {
    return status;
  }
  if (CFEqual(key, kVTCompressionPropertyKey_EncoderID)) {
    *value = new __CFString(encoder_entry_.id());
  } else if (CFEqual(key, kVTCompressionPropertyKey_UsingHardwareAcceleratedVideoEncoder)) {
    // The low-latency encoders leave it unset.
    *value = encoder_entry_.low_latency ? nullptr
             : encoder_entry_.hardware  ? kCFBooleanTrue
                                        : kCFBooleanFalse;
  } else if (const auto *found = properties_.Find(key); found != nullptr) {
    *value = CFRetain(found);
  }
  return noErr;
}

// --- from a frame to its sample, on the session's thread

EncoderConfig OpaqueVTCompressionSession::ConfigLocked(bool full_range) const {
  EncoderConfig config{};
  config.codec = encoder_entry_.codec;
  config.width = size_.width;
  config.height = size_.height;
  config.profile = PropertyText(kVTCompressionPropertyKey_ProfileLevel);
  config.frame_rate = PropertyNumber(kVTCompressionPropertyKey_ExpectedFrameRate, 30);
  config.bits_per_second =
      static_cast<int64_t>(PropertyNumber(kVTCompressionPropertyKey_AverageBitRate));
  config.key_frame_interval =
      static_cast<int64_t>(PropertyNumber(kVTCompressionPropertyKey_MaxKeyFrameInterval));
  const double duration = PropertyNumber(kVTCompressionPropertyKey_MaxKeyFrameIntervalDuration);
  if (duration > 0) {
    const auto frames = std::max<int64_t>(1, std::llround(duration * config.frame_rate));
    config.key_frame_interval =
        config.key_frame_interval == 0 ? frames : std::min(config.key_frame_interval, frames);
  }
  // Apple silicon makes every frame an IDR then.
  if (config.codec == kCMVideoCodecType_H264 &&
      PropertyNumber(kVTCompressionPropertyKey_ReferenceBufferCount) == 1) {
    config.key_frame_interval = 1;
  }
  config.reordering = !encoder_entry_.low_latency &&
                      !PropertyIsFalse(kVTCompressionPropertyKey_AllowFrameReordering);
  config.open_gop = !PropertyIsFalse(kVTCompressionPropertyKey_AllowOpenGOP);
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
  encoder_ = std::make_unique<SoftwareEncoder>(config_);
  auto sets = encoder_->ParameterSets();
  const auto own = std::find_if(sets.begin(), sets.end(), [this](const auto &set) {
    return IsPictureParameterSet(config_.codec, set);
  });
  if (own != sets.end()) {
    const std::vector<uint8_t> set = *own;
    for (unsigned id = 1; id <= sample_plan_.extra_sets; ++id) {
      sets.push_back(CopyPictureParameterSet(config_.codec, set, id));
    }
  }
  format_ = Make<opaqueCMFormatDescription>();
  format_->codec = config_.codec;
  format_->parameter_sets = std::move(sets);
  format_->nal_length_size = sample_plan_.nal_length_size;
}

void OpaqueVTCompressionSession::Encode(const JobPointer &job) {
  const auto &backing = job->image->backing;
  const bool full_range = IsFullRange(backing.layout.format);
  std::optional<int64_t> bit_rate;
  bool drops = false;
  {
    Lock lock(mutex_);
    bit_rate.swap(new_bit_rate_);
    // The effect of DataRateLimits on low-latency rate control.
    drops = encoder_entry_.low_latency && job->index % 5 == 4 &&
            properties_.Find(kVTCompressionPropertyKey_DataRateLimits) != nullptr;
  }
  if (drops) {
    Deliver(job, noErr, kVTEncodeInfo_FrameDropped, nullptr);
    return;
  }
  const bool stale =
      encoder_ != nullptr && (config_.full_range != full_range ||
                              (bit_rate.has_value() && !encoder_->SetBitRate(*bit_rate)));
  if (stale) DeliverUnits(encoder_->Drain());
  if (stale || encoder_ == nullptr) OpenEncoder(full_range);
  DeliverUnits(encoder_->Encode({backing.layout, backing.pixels.get()}, job->index, job->key));
}

void OpaqueVTCompressionSession::DrainEncoder() {
  if (encoder_ != nullptr) {
    DeliverUnits(encoder_->Drain());
    encoder_.reset();
  }
}

void OpaqueVTCompressionSession::DeliverUnits(const std::vector<EncodedUnit> &units) {
  for (const auto &unit : units) {
    JobPointer job;
    {
      Lock lock(mutex_);
      job = pending_.at(unit.index);
    }
    Count().key_frames += unit.key ? 1 : 0;
    const auto sample = MakeSample(*job, unit);
    Deliver(job, noErr, 0, sample.get());
  }
}

Ref<opaqueCMSampleBuffer> OpaqueVTCompressionSession::MakeSample(const Job &job,
                                                                 const EncodedUnit &unit) const {
  std::vector<NalUnit> units = SplitAnnexB(unit.bytes);
  std::erase_if(units, [this](NalUnit nal) { return IsParameterSet(config_.codec, nal); });
  std::vector<uint8_t> bytes = WithLengths(units, sample_plan_.nal_length_size);
  if (job.plan.malformed) bytes.pop_back();
  auto sample = Make<opaqueCMSampleBuffer>();
  sample->data = Make<OpaqueCMBlockBuffer>(bytes, sample_plan_.piece_size);
  sample->format = format_;
  sample->dts = sample_plan_.valid_dts.value_or(config_.reordering) ? job.pts : kCMTimeInvalid;

  using NotSync = SamplePlan::NotSync;
  if (unit.key && sample_plan_.not_sync == NotSync::kNoArray) return sample;
  auto attachments = Make<__CFDictionary>();
  if (!unit.key) {
    attachments->Set(kCMSampleAttachmentKey_NotSync, kCFBooleanTrue);
  } else if (sample_plan_.not_sync == NotSync::kFalse) {
    attachments->Set(kCMSampleAttachmentKey_NotSync, kCFBooleanFalse);
  }
  sample->attachments = Make<__CFArray>();
  sample->attachments->values.push_back(AnyRef::Adopt(attachments.Give()));
  return sample;
}

// --- the C functions

// NV12 unless the client asked for another format. The buffers are surfaces, as on a Mac.
static Ref<__CVPixelBufferPool> MakePool(Size size, CFDictionaryRef wanted) {
  auto attributes = Make<__CFDictionary>();
  const auto set_number = [&](CFStringRef key, int64_t value) {
    attributes->Set(key, Make<__CFNumber>(value).get());
  };
  set_number(kCVPixelBufferPixelFormatTypeKey, kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange);
  if (wanted != nullptr) {
    for (const auto &[key, value] : Check(wanted, "VTCompressionSessionCreate").entries) {
      attributes->Set(key.get(), value.get());
    }
  }
  set_number(kCVPixelBufferWidthKey, size.width);
  set_number(kCVPixelBufferHeightKey, size.height);
  attributes->Set(kCVPixelBufferIOSurfacePropertiesKey, Make<__CFDictionary>().get());
  CVPixelBufferPoolRef pool = nullptr;
  CVPixelBufferPoolCreate(nullptr, nullptr, attributes.get(), &pool);
  return Ref<__CVPixelBufferPool>::Adopt(pool);
}

OSStatus VTCompressionSessionCreate(CFAllocatorRef, int32_t width, int32_t height,
                                    CMVideoCodecType codec, CFDictionaryRef encoder_specification,
                                    CFDictionaryRef source_image_buffer_attributes, CFAllocatorRef,
                                    VTCompressionOutputCallback callback, void *output_refcon,
                                    VTCompressionSessionRef *session) {
  if (session == nullptr || callback == nullptr || width <= 0 || height <= 0) {
    return kVTParameterErr;
  }
  *session = nullptr;
  const SessionPlan plan = NextSessionPlan();
  const auto choice = ChooseEncoder(width, height, codec, encoder_specification, plan);
  if (plan.refusal != noErr || choice.entry == nullptr) {
    ++Count().sessions_refused;
    return plan.refusal != noErr ? plan.refusal : choice.status;
  }
  auto pool = MakePool({width, height}, source_image_buffer_attributes);
  if (!pool) return kVTParameterErr;
  *session = new OpaqueVTCompressionSession(*choice.entry, {width, height}, plan, callback,
                                            output_refcon, std::move(pool));
  ++Count().sessions_created;
  return noErr;
}

void VTCompressionSessionInvalidate(VTCompressionSessionRef session) {
  Check(session).Invalidate();
}
CVPixelBufferPoolRef VTCompressionSessionGetPixelBufferPool(VTCompressionSessionRef session) {
  return Check(session).Pool();
}
OSStatus VTCompressionSessionPrepareToEncodeFrames(VTCompressionSessionRef session) {
  return Check(session).State();
}

OSStatus VTCompressionSessionEncodeFrame(VTCompressionSessionRef session, CVImageBufferRef image,
                                         CMTime pts, CMTime, CFDictionaryRef frame_properties,
                                         void *frame_refcon, VTEncodeInfoFlags *flags) {
  if (flags != nullptr) *flags = kVTEncodeInfo_Asynchronous;
  const bool key = IsTrue(frame_properties, kVTEncodeFrameOptionKey_ForceKeyFrame);
  return Check(session).EncodeFrame(image, pts, key, frame_refcon);
}

OSStatus VTCompressionSessionCompleteFrames(VTCompressionSessionRef session,
                                            CMTime complete_until) {
  return Check(session).CompleteFrames(complete_until);
}
