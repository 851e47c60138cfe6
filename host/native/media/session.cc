#include "session.h"

#include <pthread.h>

#include <algorithm>
#include <exception>
#include <limits>
#include <utility>

#include "picture_error.h"

extern "C" {
#include <libavcodec/packet.h>
}

namespace vsockenc {
namespace {

uint32_t Microseconds(std::chrono::steady_clock::duration duration) {
  const auto count = std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
  return static_cast<uint32_t>(std::min<int64_t>(count, std::numeric_limits<uint32_t>::max()));
}

// The visitor of a variant, one lambda an alternative.
template <typename... Visitors>
struct Match : Visitors... {
  using Visitors::operator()...;
};

}  // namespace

Session::Session(EncoderSettings settings, SessionEvents &events)
    : settings_(std::move(settings)),
      events_(events),
      converter_(settings_.colour.full_range),
      keyframe_interval_(settings_.keyframe_interval),
      thread_([this] { Run(); }) {}

Session::~Session() {
  Close();
  if (thread_.joinable()) thread_.join();
}

void Session::Push(Job job) {
  {
    const std::lock_guard lock(mutex_);
    if (closing_) return;
    closing_ = std::holds_alternative<CloseJob>(job);
    jobs_.push_back(std::move(job));
  }
  wake_.notify_one();
}

Session::Job Session::Pop() {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [this] { return !jobs_.empty(); });
  Job job = std::move(jobs_.front());
  jobs_.pop_front();
  return job;
}

void Session::Encode(uint32_t frame, std::shared_ptr<const Picture> picture, bool force_key) {
  Push(FrameJob{frame, std::move(picture), force_key, false, Clock::now()});
}

void Session::Reconfigure(const Rates &rates, int keyframe_interval) {
  const RateJob job{rates, keyframe_interval};
  {
    // One that no frame has come after yet is replaced: however often the rate changes, no more
    // changes than frames wait, and an encoder is not opened anew for each.
    const std::lock_guard lock(mutex_);
    if (!jobs_.empty() && std::holds_alternative<RateJob>(jobs_.back())) {
      jobs_.back() = job;
      return;
    }
  }
  Push(job);
}

void Session::Mark(uint32_t token) {
  Push(MarkJob{token});
}

void Session::CancelFrames() {
  const std::lock_guard lock(mutex_);
  for (Job &job : jobs_) {
    if (auto *frame = std::get_if<FrameJob>(&job)) frame->cancelled = true;
  }
}

void Session::Close() {
  CancelFrames();
  Push(CloseJob{});
}

void Session::Run() {
#ifdef __linux__
  pthread_setname_np(pthread_self(), "vsockenc-encode");  // shown by top -H and perf
#endif
  OpenEncoder();
  for (bool open = true; open;) {
    Job next = Pop();
    std::visit(Match{
                   [this](FrameJob &job) { EncodeFrame(std::move(job)); },
                   [this](RateJob &job) { ChangeRate(job); },
                   [this](MarkJob &job) { events_.OnMark(job.token); },
                   [&open](CloseJob &) { open = false; },
               },
               next);
  }
  encoder_.reset();
  events_.OnClosed();
}

void Session::OpenEncoder() {
  try {
    encoder_ = std::make_unique<LavcEncoder>(settings_);
  } catch (const std::exception &error) {
    events_.OnOpenFailed(error.what());
    return;
  }
  events_.OnOpened();
}

void Session::ChangeRate(const RateJob &job) {
  keyframe_interval_ = job.keyframe_interval;
  if (!encoder_) return;
  try {
    encoder_->SetRates(job.rates);
  } catch (const std::exception &error) {
    encoder_.reset();
    events_.OnFailed(error.what());
  }
}

void Session::EncodeFrame(FrameJob job) {
  const auto started = Clock::now();
  if (job.cancelled || !encoder_) {
    job.picture.reset();
    events_.OnRead(job.frame);
    events_.OnDropped(job.frame, job.cancelled ? DropReason::kFlushed : DropReason::kEncoder);
    return;
  }
  try {
    converter_.Convert(job.picture->Read(staging_), encoder_->WritableFrame());
    const auto converted = Clock::now();
    job.picture.reset();
    events_.OnRead(job.frame);

    const bool key = job.force_key || since_key_ == 0 || since_key_ >= keyframe_interval_;
    PacketPointer packet = encoder_->Encode(key);
    since_key_ = (packet->flags & AV_PKT_FLAG_KEY) != 0 ? 1 : since_key_ + 1;
    events_.OnPacket(job.frame, std::move(packet),
                     {
                         .queue_us = Microseconds(started - job.queued),
                         .convert_us = Microseconds(converted - started),
                         .encode_us = Microseconds(Clock::now() - converted),
                     });
  } catch (const PictureError &error) {
    // The encoder has seen nothing of it, so the stream can go on with the next one.
    job.picture.reset();
    events_.OnRead(job.frame);
    events_.OnFrameFailed(job.frame, error.what());
  } catch (const std::exception &error) {
    if (job.picture) {
      job.picture.reset();
      events_.OnRead(job.frame);
    }
    events_.OnFrameFailed(job.frame, error.what());
    encoder_.reset();
    events_.OnFailed(error.what());
  }
}

}  // namespace vsockenc
