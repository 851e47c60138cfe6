#include "session.h"

#include <pthread.h>

#include <exception>
#include <utility>

namespace vsockenc {
namespace {

// The visitor of a variant, one lambda an alternative.
template <typename... Visitors>
struct Match : Visitors... {
  using Visitors::operator()...;
};

}  // namespace

void Session::Sink::OnRead(uint32_t frame) {
  session_.events_.OnRead(frame);
}
void Session::Sink::OnPacket(uint32_t frame, AccessUnit unit, FrameTimes times) {
  session_.events_.OnPacket(frame, std::move(unit), times);
}
void Session::Sink::OnDropped(uint32_t frame) {
  session_.events_.OnDropped(frame, DropReason::kEncoder);
}
void Session::Sink::OnFrameFailed(uint32_t frame, const std::string &why) {
  session_.events_.OnFrameFailed(frame, why);
}
void Session::Sink::OnNote(const std::string &text) {
  session_.events_.OnNote(text);
}
void Session::Sink::OnAttention() {
  {
    const std::lock_guard lock(session_.mutex_);
    session_.attention_ = true;
  }
  session_.wake_.notify_one();
}

Session::Session(EncoderFactory open, SessionEvents &events)
    : open_(std::move(open)), events_(events), sink_(*this), thread_([this] { Run(); }) {}

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
    for (Job &next : Pop()) {
      std::visit(Match{
                     [this](FrameJob &job) { EncodeFrame(std::move(job)); },
                     [this](RateJob &job) {
                       if (encoder_) encoder_->SetRates(job.rates, job.keyframe_interval);
                     },
                     [this](MarkJob &job) {
                       Finish();
                       events_.OnMark(job.token);
                     },
                     [&open](CloseJob &) { open = false; },
                 },
                 next);
    }
    Tend();
  }
  Finish();
  encoder_.reset();
  events_.OnClosed();
}

void Session::OpenEncoder() {
  try {
    encoder_ = open_(sink_);
  } catch (const std::exception &error) {
    events_.OnOpenFailed(error.what());
    return;
  }
  events_.OnOpened();
}

void Session::EncodeFrame(FrameJob job) {
  if (!job.cancelled && encoder_) {
    encoder_->Encode(std::move(job.request));
    return;
  }
  job.request.source = {};
  events_.OnRead(job.request.frame);
  events_.OnDropped(job.request.frame, job.cancelled ? DropReason::kFlushed : DropReason::kEncoder);
}

void Session::Finish() {
  if (encoder_) encoder_->Finish();
}

void Session::Tend() {
  due_ = FrameClock::time_point::max();
  if (!encoder_) return;
  due_ = encoder_->Tend();
  if (!encoder_->failure()) return;
  const std::string why = *encoder_->failure();
  encoder_.reset();
  events_.OnFailed(why);
}

}  // namespace vsockenc
