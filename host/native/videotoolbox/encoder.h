#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "../media/encoder/session_encoder.h"
#include "access_unit.h"
#include "compression_session.h"
#include "input.h"

namespace vsockenc::vt {

// Theory of operation
//
// A frame is converted to the encoder's input, which frees its source, and waits in frames_ until
// VideoToolbox has answered it. VideoToolbox has at most two at a time: more would queue in its
// daemon, which is killed when it holds too much memory. The session's thread waits instead of
// dropping.
//
// Outputs come on a thread of VideoToolbox and are answered there. Everything else happens on the
// session's thread; an output with an error records it and asks for attention. Every loss (an
// invalid session, a malfunction, a busy encoder, silence) has one remedy: a new session with every
// property, which gets all unanswered frames again, the first as a key frame. Opening works the
// same way. The number of attempts without an access unit is bounded; after the last the encoder
// fails.
//
// Each attempt at a frame has a new ticket, so that an output for an earlier attempt (VideoToolbox
// may send one for a frame that it refused) is ignored.

struct Patience {
  int attempts = 5;                         // to make a session, without an access unit between
  std::chrono::milliseconds pause{50};      // before another attempt, doubled each time
  std::chrono::milliseconds silence{2000};  // limit, while a session has frames
};

class Encoder : public SessionEncoder, private Outputs {
 public:
  // Opens a session and encodes a black frame: a first frame takes up to 120 ms, and this detects a
  // session that cannot encode. The frame is not part of the stream, which begins with its own key
  // frame. Throws VideoToolboxError or std::runtime_error.
  Encoder(const Settings &settings, EventSink &sink, Patience patience = {});
  // Unanswered frames stay unanswered.
  ~Encoder() override;

  void Encode(FrameRequest request) override;
  void SetRates(const Rates &rates, int keyframe_interval) override;
  void Finish() override;
  FrameClock::time_point Tend() override;
  const std::optional<std::string> &failure() const override { return failure_; }

 private:
  static constexpr size_t kMostGiven = 2;

  struct Frame {
    uint32_t number;  // the relay's
    bool warm_up;     // not reported
    bool force_key;
    CfRef<CVPixelBufferRef> buffer;
    uint32_t queue_us;
    uint32_t convert_us;
    // Of the latest attempt:
    uint64_t ticket = 0;  // 0: not given to VideoToolbox
    bool key = false;
    FrameClock::time_point given{};
  };

  // The reason why the session cannot be used.
  struct Loss {
    OSStatus status;
    std::string what;
  };

  // On a thread of VideoToolbox.
  void OnOutput(uint64_t ticket, OSStatus status, VTEncodeInfoFlags flags,
                CMSampleBufferRef sample) override;
  AccessUnit UnitOf(CMSampleBufferRef sample) const;
  void Answer(const Frame &frame, std::optional<AccessUnit> unit);
  // Any thread.
  template <typename Action>
  auto Locked(Action action) const {
    const std::lock_guard lock(mutex_);
    return action();
  }
  void Lose(Loss loss);
  Frame *Find(uint64_t ticket);  // mutex_ is held
  void Erase(uint64_t ticket);   // mutex_ is held

  // On the session's thread.
  CfRef<CVPixelBufferRef> Prepare(const FrameSource &source);
  void Run();
  std::optional<Frame> NextToGive();
  void Restore(const Loss &loss);
  void Fail(const std::string &why);
  void WarmUp();
  // Until a change, or until VideoToolbox has been silent for too long.
  void Wait(std::unique_lock<std::mutex> &lock);
  FrameClock::time_point SilentUntil() const;  // mutex_ is held
  void CheckSilence();

  Settings settings_;
  EventSink &sink_;
  const Patience patience_;
  const H264Vui vui_;
  Input input_;
  Ladder ladder_;
  std::optional<std::string> failure_;
  uint64_t last_ticket_ = 0;
  int64_t next_tick_ = 0;  // frames given to any session

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  std::deque<Frame> frames_;  // unanswered: at most kMostGiven, and the next one
  Keyframes keyframes_;
  std::optional<Loss> loss_;
  uint64_t changes_ = 0;               // the event of Wait
  FrameClock::time_point progress_{};  // the last time VideoToolbox took or returned a frame
  int attempts_ = 0;                   // since the last access unit

  // Declared last: no output comes after its destruction.
  std::unique_ptr<CompressionSession> session_;
};

EncoderFactory OpenVideoToolbox(const Settings &settings, Patience patience = {});

}  // namespace vsockenc::vt
