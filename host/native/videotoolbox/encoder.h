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
#include "ladder.h"

namespace vsockenc::vt {

// Theory of operation
//
// A frame is made into a buffer of the encoder's, whereupon its source is free, and then waits in
// frames_ until VideoToolbox has answered for it. At most two are with VideoToolbox at a time: more
// would queue in its daemon, which is killed when it holds too much. Nothing is dropped for that;
// the session's thread waits.
//
// Outputs come on a thread of VideoToolbox and are answered there. All else happens on the
// session's thread: an output that tells of trouble only writes that down and asks for attention.
// Whatever the trouble is (an invalid session, a malfunction, a busy encoder, silence), there is
// one way out: another session with every property, to which the frames that have no answer yet are
// given again, the first of them as a key frame. Opening is the same thing for the first time.
// Attempts without an access unit in between are bounded; after the last one the encoder has
// failed.
//
// Each frame that is given gets a new ticket, so that an output for an earlier attempt
// (VideoToolbox may send one for a frame that it refused) finds nobody.

// How patient an encoder is.
struct Patience {
  int attempts = 5;                         // to make a session, without an access unit between
  std::chrono::milliseconds pause{50};      // ahead of another, doubled each time
  std::chrono::milliseconds silence{2000};  // of a session that has frames
};

class Encoder : public SessionEncoder, private Outputs {
 public:
  // Opens a session and has it encode a black frame: a first frame costs up to 120 ms, and a
  // session that cannot encode shows it here. That frame does not reach the stream, which begins
  // with a key frame of its own behind it. Throws VideoToolboxError or std::runtime_error.
  Encoder(const Settings &settings, EventSink &sink, Patience patience = {});
  // Frames that have no answer yet get none.
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
    bool warm_up;     // nobody is told of it
    bool force_key;
    CfRef<CVPixelBufferRef> buffer;
    uint32_t queue_us;
    uint32_t convert_us;
    // Of the latest attempt:
    uint64_t ticket = 0;  // 0: VideoToolbox does not have it
    bool key = false;
    FrameClock::time_point given{};
  };

  // Why there is no session that can be used.
  struct Loss {
    OSStatus status;
    std::string what;
  };

  // On a thread of VideoToolbox.
  void OnOutput(uint64_t ticket, OSStatus status, VTEncodeInfoFlags flags,
                CMSampleBufferRef sample) override;
  AccessUnit UnitOf(CMSampleBufferRef sample) const;
  void Free(uint64_t ticket);
  void Answer(const Frame &frame, std::optional<AccessUnit> unit);
  // Any thread.
  void Lose(Loss loss);
  Frame *Find(uint64_t ticket);  // mutex_ is held
  void Erase(uint64_t ticket);   // mutex_ is held

  // On the session's thread.
  CfRef<CVPixelBufferRef> Prepare(const FrameSource &source);
  void Run();
  void Give(const Frame &frame, int64_t tick);
  std::optional<Frame> NextToGive();
  void Restore(const Loss &loss);
  void Fail(const std::string &why);
  void WarmUp();
  // Until something has changed or VideoToolbox has been silent for too long.
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

  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  std::deque<Frame> frames_;  // without an answer, at most kMostGiven and the one that waits
  Keyframes keyframes_;
  std::optional<Loss> loss_;
  uint64_t changes_ = 0;               // that Wait waits for
  FrameClock::time_point progress_{};  // when VideoToolbox last took or gave something
  int attempts_ = 0;                   // since the last access unit

  // Last: no output comes once it is gone.
  std::unique_ptr<CompressionSession> session_;
};

EncoderFactory OpenVideoToolbox(const Settings &settings, Patience patience = {});

}  // namespace vsockenc::vt
