#include "compression_session.h"

#include <algorithm>

#include "counters.h"
#include "properties.h"
#include "violation.h"

using vt_shim::Count;
using vt_shim::Job;
using vt_shim::JobPointer;
using vt_shim::Violation;
using Clock = std::chrono::system_clock;

namespace {

// Errors after which a session never encodes again.
bool IsFinal(OSStatus status) {
  return status == kVTInvalidSessionErr || status == kVTVideoEncoderMalfunctionErr ||
         status == kVTSessionMalfunctionErr;
}

}  // namespace

OpaqueVTCompressionSession::OpaqueVTCompressionSession(const vt_shim::EncoderEntry &encoder,
                                                       CMVideoDimensions size,
                                                       vt_shim::SessionPlan session_plan,
                                                       VTCompressionOutputCallback output,
                                                       void *output_context,
                                                       vt_shim::Ref<__CVPixelBufferPool> buffers)
    : ObjectOf(vt_shim::kTypeOf<OpaqueVTCompressionSession>, vt_shim::Lifetime::kCounted),
      encoder_entry_(encoder),
      dimensions_(size),
      plan_(std::move(session_plan)),
      callback_(output),
      refcon_(output_context),
      pool_(std::move(buffers)),
      properties_(vt_shim::Ref<__CFDictionary>::Adopt(new __CFDictionary(true))),
      sample_plan_(vt_shim::CurrentSamplePlan()) {
  Lock lock(mutex_);
  thread_ = std::thread([this] { Run(); });
  thread_id_ = thread_.get_id();
}

std::string OpaqueVTCompressionSession::Describe() const {
  return std::string("VTCompressionSession ") + encoder_entry_.id;
}

void OpaqueVTCompressionSession::Finalize() {
  if (std::this_thread::get_id() == thread_id_) {
    Violation("the last reference to a VTCompressionSession goes in its own callback");
  }
  Invalidate();
  properties_ = {};
  format_ = {};
  encoder_.reset();
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

OSStatus OpaqueVTCompressionSession::EncodeFrame(CVImageBufferRef image, CMTime pts,
                                                 CMTime duration, CFDictionaryRef properties,
                                                 void *refcon, VTEncodeInfoFlags *flags) {
  const auto begun = std::chrono::steady_clock::now();
  auto &buffer = vt_shim::Check(image, "VTCompressionSessionEncodeFrame");
  const bool key = vt_shim::IsTrue(properties, kVTEncodeFrameOptionKey_ForceKeyFrame);
  Lock lock(mutex_);
  if (StateLocked() != noErr) {
    return StateLocked();
  }
  CheckTimeLocked(pts);
  const auto &layout = buffer.backing.layout;
  if (layout.width != static_cast<size_t>(dimensions_.width) ||
      layout.height != static_cast<size_t>(dimensions_.height)) {
    Violation("VTCompressionSessionEncodeFrame: the picture has " + std::to_string(layout.width) +
              "x" + std::to_string(layout.height) + " pixels, the session another size");
  }
  if (!vt_shim::IsRgb(layout.format) && !vt_shim::IsYuv420(layout.format)) {
    return kVTPixelTransferNotSupportedErr;
  }
  uint64_t number = 0;
  const vt_shim::FramePlan plan = vt_shim::NextFramePlan(&number);
  ++Count().frames_submitted;
  Count().converted_frames += vt_shim::IsBiPlanar(layout.format) ? 0 : 1;
  Count().forced_key_frames += key ? 1 : 0;
  Count().untagged_frames +=
      CVBufferHasAttachment(image, kCVImageBufferYCbCrMatrixKey) &&
              CVBufferHasAttachment(image, kCVImageBufferColorPrimariesKey) &&
              CVBufferHasAttachment(image, kCVImageBufferTransferFunctionKey)
          ? 0
          : 1;
  WaitForRoomLocked(lock, plan.block_ms);
  if (StateLocked() != noErr) {
    return StateLocked();
  }
  if (plan.callback) {
    last_pts_ = pts;
    auto job = std::make_shared<Job>(
        Job{next_index_++, vt_shim::Ref<__CVBuffer>::Share(&buffer),
            plan_.reads_input ? vt_shim::Checksum(layout, buffer.backing.pixels.get()) : 0, pts,
            duration, key, refcon, plan, Clock::now() + std::chrono::milliseconds(plan.delay_ms),
            begun});
    ++buffer.encoding;
    if (buffer.backing.surface) {
      ++buffer.backing.surface->core->encoding;
    }
    pending_[job->index] = job;
    queue_.push_back(job);
    changed_.notify_all();
    if (plan.early && std::this_thread::get_id() != thread_id_) {
      WaitForCallbackLocked(lock, *job);
    }
  } else if (IsFinal(plan.return_status)) {
    broken_ = plan.return_status;
  }
  if (flags != nullptr) {
    *flags = kVTEncodeInfo_Asynchronous;
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
  if (StateLocked() != noErr && pending_.empty()) {
    return StateLocked();
  }
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

OSStatus OpaqueVTCompressionSession::Prepare() {
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
    --job->image->encoding;
    if (job->image->backing.surface) {
      --job->image->backing.surface->core->encoding;
    }
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
    if (job->plan.outcome == vt_shim::FramePlan::Outcome::kFail && IsFinal(job->plan.status)) {
      broken_ = job->plan.status;
    }
    broken = broken_;
  }
  if (broken != noErr) {
    Deliver(job, broken, 0, nullptr);
    return;
  }
  switch (job->plan.outcome) {
    case vt_shim::FramePlan::Outcome::kFail:
      Deliver(job, job->plan.status, 0, nullptr);
      break;
    case vt_shim::FramePlan::Outcome::kNullSample:
      Deliver(job, noErr, 0, nullptr);
      break;
    case vt_shim::FramePlan::Outcome::kDropped:
      Deliver(job, noErr, kVTEncodeInfo_FrameDropped, nullptr);
      break;
    case vt_shim::FramePlan::Outcome::kEncode:
      Encode(job);
      break;
  }
}

void OpaqueVTCompressionSession::Deliver(const JobPointer &job, OSStatus status,
                                         VTEncodeInfoFlags flags, CMSampleBufferRef sample) {
  const auto &backing = job->image->backing;
  if (plan_.reads_input &&
      vt_shim::Checksum(backing.layout, backing.pixels.get()) != job->checksum) {
    Violation("the pixel buffer of frame " + std::to_string(job->index) +
              " was overwritten before its callback");
  }
  --job->image->encoding;
  if (backing.surface) {
    --backing.surface->core->encoding;
  }
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
