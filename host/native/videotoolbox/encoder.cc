#include "encoder.h"

#include <algorithm>
#include <exception>
#include <thread>
#include <utility>

#include "../media/memory/pixel_memory.h"
#include "pixel_buffer.h"
#include "status.h"

namespace vsockenc::vt {

Encoder::Encoder(const Settings &settings, EventSink &sink, Patience patience)
    : settings_(settings),
      sink_(sink),
      patience_(patience),
      vui_(VuiOf(settings)),
      input_(settings),
      ladder_(settings),
      keyframes_(settings.keyframe_interval),
      loss_(Loss{noErr, {}}) {
  WarmUp();
}

Encoder::~Encoder() {
  // With frames pending the session is lost anyway, and waiting for a hung daemon would never end.
  const bool idle = Locked([this] { return frames_.empty(); });
  if (session_ && idle) session_->Complete();
}

void Encoder::WarmUp() {
  Run();
  if (!failure_) {
    Frame frame{.number = 0,
                .warm_up = true,
                .force_key = true,
                .buffer = input_.Black(session_->pool()),
                .queue_us = 0,
                .convert_us = 0};
    Locked([&] { frames_.push_back(std::move(frame)); });
  }
  Finish();
  if (failure_) throw std::runtime_error(*failure_);
  Locked([this] { keyframes_.Lose(); });
}

// --- the session's thread

void Encoder::Encode(FrameRequest request) {
  const auto started = FrameClock::now();
  CfRef<CVPixelBufferRef> buffer;
  std::string why;
  try {
    buffer = Prepare(request.source);
  } catch (const std::exception &error) {
    // VideoToolbox has not seen the frame, so the stream continues with the next one.
    why = error.what();
  }
  const auto prepared = FrameClock::now();
  request.source = {};
  sink_.On(event::Read{request.frame});
  if (!buffer) {
    sink_.On(event::FrameFailed{request.frame, why});
    return;
  }
  Locked([&] {
    frames_.push_back({.number = request.frame,
                       .warm_up = false,
                       .force_key = request.force_key,
                       .buffer = std::move(buffer),
                       .queue_us = Microseconds(started - request.queued),
                       .convert_us = Microseconds(prepared - started)});
  });
  for (;;) {
    Run();
    std::unique_lock lock(mutex_);
    if (frames_.empty() || frames_.back().ticket != 0) return;
    Wait(lock);
  }
}

// Replaces a session that has no more buffers.
CfRef<CVPixelBufferRef> Encoder::Prepare(const FrameSource &source) {
  for (;;) {
    Run();
    if (failure_) throw std::runtime_error(*failure_);
    try {
      return input_.Prepare(source, session_->pool());
    } catch (const VideoToolboxError &error) {
      Lose({error.status(), error.what()});
    }
  }
}

void Encoder::SetRates(const Rates &rates, int keyframe_interval) {
  settings_.rates = rates;
  Locked([&] { keyframes_.SetInterval(keyframe_interval); });
  if (!session_) return;
  const OSStatus status = session_->SetRates(rates);
  if (status == kVTInvalidSessionErr) {
    Lose({status, "setting the bit rate: " + Words(status)});
  } else if (status != noErr) {
    sink_.On(event::Note{"cannot change the bit rate: " + Words(status)});
  }
  Run();
}

void Encoder::Finish() {
  for (;;) {
    Run();
    std::unique_lock lock(mutex_);
    if (frames_.empty()) return;
    Wait(lock);
  }
}

FrameClock::time_point Encoder::Tend() {
  CheckSilence();
  Run();
  return Locked([this] { return SilentUntil(); });
}

// Gives VideoToolbox as many frames as it may have, in a new session if the last one was lost.
void Encoder::Run() {
  while (!failure_) {
    if (const auto loss = Locked([this] { return loss_; })) {
      Restore(*loss);
      continue;
    }
    const std::optional<Frame> next = NextToGive();
    if (!next) return;
    const OSStatus status =
        session_->Encode(next->buffer.get(), next_tick_++, next->key, next->ticket);
    if (status != noErr) Lose({status, "encoding a frame: " + Words(status)});
  }
}

std::optional<Encoder::Frame> Encoder::NextToGive() {
  const std::lock_guard lock(mutex_);
  const auto waits = std::ranges::find(frames_, uint64_t{0}, &Frame::ticket);
  if (waits == frames_.end() || waits - frames_.begin() >= static_cast<ptrdiff_t>(kMostGiven)) {
    return std::nullopt;
  }
  waits->ticket = ++last_ticket_;
  waits->key = keyframes_.Due(waits->force_key);
  waits->given = FrameClock::now();
  keyframes_.Count(waits->key);
  progress_ = waits->given;
  return *waits;
}

void Encoder::Restore(const Loss &loss) {
  const Remedy remedy = RemedyFor(loss.status);
  const bool hopeless =
      remedy == Remedy::kNextRung && (!session_ || !ladder_.Leave(session_->rung()));
  session_.reset();  // waits for outputs, so no lock is held

  const int attempt = Locked([this] {
    loss_.reset();
    keyframes_.Lose();
    for (Frame &frame : frames_) frame.ticket = 0;
    return attempts_++;
  });
  const bool opening = loss.status == noErr;
  if (hopeless || attempt >= patience_.attempts) {
    Fail(loss.what + (hopeless ? "" : ", after " + std::to_string(attempt) + " attempts"));
    return;
  }
  if (!opening) {
    sink_.On(event::Note{loss.what + "; opening a new session"});
    if (attempt > 0 || remedy == Remedy::kWait) {
      std::this_thread::sleep_for(patience_.pause * (1 << attempt));
    }
  }
  try {
    session_ = ladder_.Climb(settings_, *this);
    sink_.On(event::Note{session_->Describe()});
  } catch (const VideoToolboxError &error) {
    Lose({error.status(), error.what()});
  }
}

void Encoder::Fail(const std::string &why) {
  session_.reset();
  failure_ = why;
  for (const Frame &frame : Locked([this] { return std::exchange(frames_, {}); })) {
    if (!frame.warm_up) sink_.On(event::FrameFailed{frame.number, why});
  }
}

void Encoder::Wait(std::unique_lock<std::mutex> &lock) {
  if (loss_) return;
  const uint64_t seen = changes_;
  changed_.wait_until(lock, SilentUntil(), [&] { return changes_ != seen; });
  lock.unlock();
  CheckSilence();
}

FrameClock::time_point Encoder::SilentUntil() const {
  const bool any = std::ranges::any_of(frames_, [](const Frame &one) { return one.ticket != 0; });
  return any ? progress_ + patience_.silence : FrameClock::time_point::max();
}

void Encoder::CheckSilence() {
  if (Locked([this] { return loss_ || FrameClock::now() < SilentUntil(); })) return;
  Lose({kVTVideoEncoderMalfunctionErr,
        "no answer for " + std::to_string(patience_.silence.count()) + " ms"});
}

// --- any thread

void Encoder::Lose(Loss loss) {
  Locked([&] {
    if (!loss_) loss_ = std::move(loss);
    ++changes_;
  });
  changed_.notify_all();
  sink_.On(event::Attention{});
}

Encoder::Frame *Encoder::Find(uint64_t ticket) {
  const auto found = std::ranges::find(frames_, ticket, &Frame::ticket);
  return found == frames_.end() ? nullptr : &*found;
}

void Encoder::Erase(uint64_t ticket) {
  std::erase_if(frames_, [&](const Frame &frame) { return frame.ticket == ticket; });
  progress_ = FrameClock::now();
  ++changes_;
}

// --- VideoToolbox's thread

void Encoder::OnOutput(uint64_t ticket, OSStatus status, VTEncodeInfoFlags flags,
                       CMSampleBufferRef sample) {
  const bool dropped =
      status == noErr && (sample == nullptr || (flags & kVTEncodeInfo_FrameDropped) != 0);
  std::optional<Frame> frame = Locked([&]() -> std::optional<Frame> {
    Frame *found = Find(ticket);
    // An output after a missing frame cannot be decoded; its frame is encoded again.
    if (found == nullptr || loss_) return std::nullopt;
    if (dropped && found->key) keyframes_.Lose();
    return *found;
  });
  if (!frame) return;
  if (status != noErr) {
    Lose({status, "an output: " + Words(status)});
    return;
  }
  std::optional<AccessUnit> unit;
  try {
    if (!dropped) unit = UnitOf(sample);
  } catch (const std::exception &error) {
    Lose({kVTVideoEncoderMalfunctionErr, error.what()});
    return;
  }
  // Returns the buffer before the answer, so that the next frame, which may come before the
  // answer's callback returns, gets the buffer that is in the CPU's caches. The frame cannot be
  // given again in the meantime: Restore waits for this callback, which erases it.
  Locked([&] {
    if (Frame *found = Find(ticket)) found->buffer = {};
  });
  frame->buffer = {};
  if (!frame->warm_up) Answer(*frame, std::move(unit));
  Locked([&] {
    Erase(ticket);
    if (!dropped) attempts_ = 0;
  });
  changed_.notify_all();
}

AccessUnit Encoder::UnitOf(CMSampleBufferRef sample) const {
  auto unit = std::make_shared<AnnexB>(ToAnnexB(sample, settings_.codec, vui_));
  const bool key = unit->key;
  const std::span<const uint8_t> bytes(unit->bytes);
  return {.bytes = bytes, .owner = std::move(unit), .key = key};
}

// A frame without a unit was dropped.
void Encoder::Answer(const Frame &frame, std::optional<AccessUnit> unit) {
  if (!unit) {
    sink_.On(event::Dropped{frame.number, event::DropReason::kEncoder});
    return;
  }
  const FrameTimes times{.queue_us = frame.queue_us,
                         .convert_us = frame.convert_us,
                         .encode_us = Microseconds(FrameClock::now() - frame.given)};
  sink_.On(event::Packet{frame.number, *std::move(unit), times});
}

EncoderFactory OpenVideoToolbox(const Settings &settings, Patience patience) {
  return [settings, patience](EventSink &sink) {
    return std::make_unique<Encoder>(settings, sink, patience);
  };
}

}  // namespace vsockenc::vt
