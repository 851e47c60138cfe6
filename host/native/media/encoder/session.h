#pragma once

#include <condition_variable>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <variant>

#include "session_encoder.h"

namespace vsockenc {

// Theory of operation
//
// A session is a thread with a queue of jobs and its own encoder. The caller's thread only appends
// to the queue; the answers are events. The thread first opens the encoder and finally closes it,
// so a slow driver delays no other session.
//
// Some encoders answer before Encode returns, others on a thread of their own. The latter may also
// need the session's thread between jobs: it calls Tend() when they send Attention, and at the time
// that the last Tend() returned.
//
// A flush cannot remove jobs from the queue, because answers must stay in order. It marks them
// instead: the thread answers a cancelled frame without reading its pixels.
//
// The queue is not bounded here: the caller limits the unanswered frames
// (host/encoders/native.ts).

class Session : private EventSink {
 public:
  // Starts the thread. `events` must live as long as the session. Frame events and notes may come
  // on a thread of the encoder, all others come on the session's.
  Session(EncoderFactory open, EventSink &events);
  // Closes the session and waits for its thread.
  ~Session() override;
  Session(const Session &) = delete;
  Session &operator=(const Session &) = delete;

  // None of these blocks. After Close() they do nothing.
  void Encode(uint32_t frame, FrameSource source, bool force_key);
  void Reconfigure(const Rates &rates, int keyframe_interval);
  void Mark(uint32_t token);
  void CancelFrames();
  void Close();
  // Instead of Close() if the encoder does not return; the session must not be deleted then. Lets
  // go of the frames that are queued; the thread ends if it ever returns.
  void Abandon();

 private:
  struct FrameJob {
    FrameRequest request;
    bool cancelled;
  };
  struct RateJob {
    Rates rates;
    int keyframe_interval;
  };
  struct MarkJob {
    uint32_t token;
  };
  struct CloseJob {};
  using Job = std::variant<FrameJob, RateJob, MarkJob, CloseJob>;

  // An event of the encoder.
  void On(SessionEvent event) override;
  void Push(Job job);
  // A list of the next job; empty when the encoder needs attention first.
  std::list<Job> Pop();
  void Run();
  void OpenEncoder();
  void EncodeFrame(FrameJob job);
  void Finish();
  // Calls the encoder's Tend(), and closes the encoder if it has failed.
  void Tend();

  const EncoderFactory open_;
  EventSink &events_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::list<Job> jobs_;     // guarded by mutex_
  bool closing_ = false;    // guarded by mutex_
  bool attention_ = false;  // guarded by mutex_

  // Of the session's thread alone.
  std::unique_ptr<SessionEncoder> encoder_;  // null before it is open and after it has failed
  FrameClock::time_point due_ = FrameClock::time_point::max();  // of the next Tend()

  std::thread thread_;  // last: it uses everything above
};

}  // namespace vsockenc
