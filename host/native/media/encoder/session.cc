#include "session.h"

#include <pthread.h>

#include <exception>
#include <utility>

namespace vsockenc {

void Session::On(SessionEvent event) {
  if (!std::holds_alternative<event::Attention>(event)) {
    events_.On(std::move(event));
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    attention_ = true;
  }
  wake_.notify_one();
}

Session::Session(EncoderFactory open, EventSink &events)
    : open_(std::move(open)), events_(events), thread_([this] { Run(); }) {}

Session::~Session() {
  Close();
  thread_.join();
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

std::list<Session::Job> Session::Pop() {
  std::list<Job> next;
  std::unique_lock lock(mutex_);
  wake_.wait_until(lock, due_, [this] { return !jobs_.empty() || attention_; });
  if (!jobs_.empty() && !attention_) next.splice(next.begin(), jobs_, jobs_.begin());
  attention_ = false;
  return next;
}

void Session::Encode(uint32_t frame, FrameSource source, bool force_key) {
  Push(FrameJob{{frame, std::move(source), force_key, FrameClock::now()}, false});
}

void Session::Reconfigure(const Rates &rates, int keyframe_interval) {
  const RateJob job{rates, keyframe_interval};
  {
    // Replaces the last job if it is another change of rate: never more changes than frames are
    // queued, and an encoder is not re-opened for each.
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

void Session::Abandon() {
  std::list<Job> dropped;  // destroyed without the lock
  {
    const std::lock_guard lock(mutex_);
    dropped.swap(jobs_);
    closing_ = true;
    jobs_.push_back(CloseJob{});
  }
  wake_.notify_one();
}

void Session::Run() {
#ifdef __linux__
  pthread_setname_np(pthread_self(), "vsockenc-encode");  // shown by top -H and perf
#endif
  OpenEncoder();
  for (bool open = true; open;) {
    for (Job &next : Pop()) {
      std::visit(Match{
                     [this](FrameJob &job) { EncodeFrame(std::move(job)); },
                     [this](RateJob &job) {
                       if (encoder_) encoder_->SetRates(job.rates, job.keyframe_interval);
                     },
                     [this](MarkJob &job) {
                       Finish();
                       Tend();  // reports a failure first
                       events_.On(event::Passed{job.token});
                     },
                     [&open](CloseJob &) { open = false; },
                 },
                 next);
    }
    Tend();
  }
  Finish();
  encoder_.reset();
  events_.On(event::Closed{});
}

void Session::OpenEncoder() {
  try {
    encoder_ = open_(*this);
  } catch (const std::exception &error) {
    events_.On(event::OpenFailed{error.what()});
    return;
  }
  events_.On(event::Opened{});
}

void Session::EncodeFrame(FrameJob job) {
  if (!job.cancelled && encoder_) {
    encoder_->Encode(std::move(job.request));
    return;
  }
  job.request.source = {};
  events_.On(event::Read{job.request.frame});
  events_.On(event::Dropped{job.request.frame, job.cancelled ? event::DropReason::kFlushed
                                                             : event::DropReason::kEncoder});
}

void Session::Finish() {
  if (encoder_) encoder_->Finish();
}

void Session::Tend() {
  due_ = FrameClock::time_point::max();
  if (!encoder_) return;
  due_ = encoder_->Tend();
  if (!encoder_->failure()) return;
  event::Failed failed{*encoder_->failure()};
  encoder_.reset();
  events_.On(std::move(failed));
}

}  // namespace vsockenc
