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
// A session is a thread with a queue of jobs and an encoder of its own. The caller's thread only
// ever appends to the queue; the answers come through SessionEvents. Opening the encoder is the
// thread's first act and closing it the last, so a driver that takes its time delays nobody else.
//
// Some encoders answer before Encode returns, others on a thread of their own. The latter may want
// the session's thread between jobs too: it tends to them when they ask, and when they said that
// something would be due.
//
// Flushing cannot take jobs out of the queue without answering them out of order. It marks them
// instead: the thread answers a cancelled frame without looking at its pixels.
//
// The queue is not bounded here: the caller counts the frames that it has no answer for
// (host/encoders/native-encoder-session.ts).

enum class DropReason { kFlushed, kEncoder };

// What is about frames and notes may come on a thread of the encoder, all else comes on the
// session's. Both must not block and must not throw.
class SessionEvents {
 public:
  virtual ~SessionEvents() = default;
  // First event but for notes: either of these two. After OnOpenFailed only OnClosed follows.
  virtual void OnOpened() = 0;
  virtual void OnOpenFailed(const std::string &why) = 0;
  // The frame's pixels will not be read again. Every frame gets one, ahead of one of the next
  // three.
  virtual void OnRead(uint32_t frame) = 0;
  virtual void OnPacket(uint32_t frame, AccessUnit unit, FrameTimes times) = 0;
  virtual void OnDropped(uint32_t frame, DropReason reason) = 0;
  virtual void OnFrameFailed(uint32_t frame, const std::string &why) = 0;
  // For the log.
  virtual void OnNote(const std::string &text) = 0;
  // The session as a whole is of no use any more: every frame from now on is answered by OnDropped.
  virtual void OnFailed(const std::string &why) = 0;
  // Everything that was queued before the mark has been answered.
  virtual void OnMark(uint32_t token) = 0;
  // Last event. The thread ends with it.
  virtual void OnClosed() = 0;
};

class Session {
 public:
  // Starts the thread. `events` must live as long as the session.
  Session(EncoderFactory open, SessionEvents &events);
  // Closes and waits for the thread.
  ~Session();
  Session(const Session &) = delete;
  Session &operator=(const Session &) = delete;

  // None of these blocks. After Close() they do nothing.
  void Encode(uint32_t frame, FrameSource source, bool force_key);
  void Reconfigure(const Rates &rates, int keyframe_interval);
  void Mark(uint32_t token);
  void CancelFrames();
  void Close();

  // Waits until the thread has ended; after Close() that takes the encoding of the frames that the
  // encoder has at the most. Once only.
  void Join() { thread_.join(); }

 private:
  // Tells the session's events what the encoder tells.
  class Sink : public EncoderSink {
   public:
    explicit Sink(Session &session) : session_(session) {}
    void OnRead(uint32_t frame) override;
    void OnPacket(uint32_t frame, AccessUnit unit, FrameTimes times) override;
    void OnDropped(uint32_t frame) override;
    void OnFrameFailed(uint32_t frame, const std::string &why) override;
    void OnNote(const std::string &text) override;
    void OnAttention() override;

   private:
    Session &session_;
  };

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

  void Push(Job job);
  // A list of the next job, empty when there is none before the encoder is due or asks.
  std::list<Job> Pop();
  void Run();
  void OpenEncoder();
  void EncodeFrame(FrameJob job);
  void Finish();
  // Asks the encoder what is due, and gives it up if it has failed.
  void Tend();

  const EncoderFactory open_;
  SessionEvents &events_;
  Sink sink_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::list<Job> jobs_;     // guarded by mutex_
  bool closing_ = false;    // guarded by mutex_
  bool attention_ = false;  // the encoder asks for it; guarded by mutex_

  // Of the session's thread alone.
  std::unique_ptr<SessionEncoder> encoder_;  // null before it is open and after it has failed
  FrameClock::time_point due_ = FrameClock::time_point::max();  // for tending to it

  std::thread thread_;  // last: it uses everything above
};

}  // namespace vsockenc
