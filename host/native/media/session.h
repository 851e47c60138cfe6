#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <variant>

#include "convert.h"
#include "lavc_encoder.h"
#include "picture.h"

namespace vsockenc {

// Theory of operation
//
// A session is a thread with a queue of jobs and an encoder of its own. The caller's thread only
// ever appends to the queue; the answers come on the session's thread, through SessionEvents, in
// the order of the jobs. Opening the encoder is the thread's first act and closing it the last, so
// a driver that takes its time delays nobody else.
//
// Flushing cannot take jobs out of the queue without answering them out of order. It marks them
// instead: the thread answers a cancelled frame without looking at its pixels.
//
// The queue is not bounded here: the caller counts the frames that it has no answer for
// (host/encoders/libavcodec.ts).

struct FrameTimes {
  uint32_t queue_us;
  uint32_t convert_us;
  uint32_t encode_us;
};

enum class DropReason { kFlushed, kEncoder };

// All are called on the session's thread. They must not block and must not throw.
class SessionEvents {
 public:
  virtual ~SessionEvents() = default;
  // First event: either of these two. After OnOpenFailed only OnClosed follows.
  virtual void OnOpened() = 0;
  virtual void OnOpenFailed(const std::string &why) = 0;
  // The frame's pixels will not be read again. Every frame gets one, ahead of one of the next
  // three.
  virtual void OnRead(uint32_t frame) = 0;
  virtual void OnPacket(uint32_t frame, PacketPointer packet, FrameTimes times) = 0;
  virtual void OnDropped(uint32_t frame, DropReason reason) = 0;
  virtual void OnFrameFailed(uint32_t frame, const std::string &why) = 0;
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
  Session(EncoderSettings settings, SessionEvents &events);
  // Closes and waits for the thread.
  ~Session();
  Session(const Session &) = delete;
  Session &operator=(const Session &) = delete;

  // None of these blocks. After Close() they do nothing.
  void Encode(uint32_t frame, std::shared_ptr<const Picture> picture, bool force_key);
  void Reconfigure(const Rates &rates, int keyframe_interval);
  void Mark(uint32_t token);
  void CancelFrames();
  void Close();

  // Waits until the thread has ended; after Close() that takes one frame's encoding at the most.
  // Once only.
  void Join() { thread_.join(); }

 private:
  using Clock = std::chrono::steady_clock;  // CLOCK_MONOTONIC

  struct FrameJob {
    uint32_t frame;
    std::shared_ptr<const Picture> picture;
    bool force_key;
    bool cancelled;
    Clock::time_point queued;
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
  Job Pop();
  void Run();
  void OpenEncoder();
  void ChangeRate(const RateJob &job);
  void EncodeFrame(FrameJob job);

  const EncoderSettings settings_;
  SessionEvents &events_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;  // guarded by mutex_
  bool closing_ = false;  // guarded by mutex_

  // Of the session's thread alone.
  Converter converter_;
  Staging staging_;                       // for pictures that cannot be read in place
  std::unique_ptr<LavcEncoder> encoder_;  // null before it is open and after it has failed
  int64_t keyframe_interval_;
  int64_t since_key_ = 0;  // frames encoded since the last key frame; 0 at the start

  std::thread thread_;  // last: it uses everything above
};

}  // namespace vsockenc
