#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>

#include "../bitstream/sps_vui.h"
#include "../picture/picture.h"

namespace vsockenc {

class Surface;  // an IOSurface: host/native/videotoolbox/surface.h

// What holds the pixels of a frame.
using FrameSource = std::variant<std::shared_ptr<const Picture>, std::shared_ptr<const Surface>>;

using FrameClock = std::chrono::steady_clock;  // CLOCK_MONOTONIC

struct FrameTimes {
  uint32_t queue_us;
  uint32_t convert_us;
  uint32_t encode_us;
};

// Saturates.
inline uint32_t Microseconds(FrameClock::duration duration) {
  const auto count = std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
  return static_cast<uint32_t>(std::min<int64_t>(count, std::numeric_limits<uint32_t>::max()));
}

// The bytes of an access unit, Annex B, with the parameter sets before every IDR.
struct AccessUnit {
  std::span<const uint8_t> bytes;
  std::shared_ptr<const void> owner;  // keeps the bytes
  bool key;
};

struct FrameRequest {
  uint32_t frame;
  FrameSource source;
  bool force_key;
  FrameClock::time_point queued;
};

// Limits of rate control, see Rates in host/encoders/plan.ts.
struct Rates {
  int64_t bits_per_second;       // on average
  int64_t peak_bits_per_second;  // over the buffer
  int buffer_bits;               // of the decoder's buffer for coded pictures (VBV)

  bool operator==(const Rates &) const = default;
};

// The settings that all encoders share.
struct StreamSettings {
  int width;  // of the visible picture; the encoder gets even numbers
  int height;
  Fraction framerate;  // that rate control assumes; neither term is 0
  bool fixed_rate;     // the VUI states it
  Fraction pixel_aspect_ratio;
  ColourDescription colour;  // of the encoded stream
  bool rgb;                  // the frames are RGB, otherwise NV12 or I420
  Rates rates;
  int keyframe_interval;  // frames from one key frame to the next
};

// The events of a session. EncoderEvent and SessionEvent in host/encoders are the same in
// TypeScript.
//
// The first one, apart from notes, is Opened or OpenFailed; after OpenFailed only Closed follows.
// Each frame gets one Read and then one of Packet, Dropped and FrameFailed.
namespace event {

enum class DropReason { kFlushed, kEncoder };

struct Opened {};
struct OpenFailed {
  std::string message;
};
// The frame's pixels will not be read again.
struct Read {
  uint32_t frame;
};
struct Packet {
  uint32_t frame;
  AccessUnit unit;
  FrameTimes times;
};
struct Dropped {
  uint32_t frame;
  DropReason reason;
};
struct FrameFailed {
  uint32_t frame;
  std::string message;
};
// For the log: the encoder's name, what it rejected, what has been recovered.
struct Note {
  std::string message;
};
// The session cannot be used any more: it answers every later frame with Dropped.
struct Failed {
  std::string message;
};
// Everything that was queued before the mark has been answered.
struct Passed {
  uint32_t token;
};
// The last event.
struct Closed {};
// From an encoder to its session only: call Tend() soon.
struct Attention {};

}  // namespace event

using SessionEvent = std::variant<event::Opened, event::OpenFailed, event::Read, event::Packet,
                                  event::Dropped, event::FrameFailed, event::Note, event::Failed,
                                  event::Passed, event::Closed, event::Attention>;

// Receives events. Any thread, one call at a time for a frame. Must not block, throw or call the
// sender.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void On(SessionEvent event) = 0;
};

// A visitor of a variant made of lambdas.
template <typename... Visitors>
struct Match : Visitors... {
  using Visitors::operator()...;
};
template <typename... Visitors>
Match(Visitors...) -> Match<Visitors...>;

// Decides when a session asks its encoder for a key frame. No encoder inserts key frames by itself,
// so the interval can change in mid-stream, and it counts from the last key frame, forced or not.
class Keyframes {
 public:
  explicit Keyframes(int interval) : interval_(interval) {}

  void SetInterval(int interval) { interval_ = interval; }
  // Whether the next frame must be a key frame.
  bool Due(bool forced) const { return forced || since_ == 0 || since_ >= interval_; }
  // A frame has been passed to the encoder, or has come out of it.
  void Count(bool key) { since_ = key ? 1 : since_ + 1; }
  // The next frame must not refer to earlier ones: a requested key frame is missing, or the session
  // was replaced.
  void Lose() { since_ = 0; }

 private:
  int64_t interval_;   // frames
  int64_t since_ = 0;  // frames since the last key frame, including it; 0: there is none
};

// An encoder as a session's thread uses it: only that thread calls it, including the destructor.
class SessionEncoder {
 public:
  virtual ~SessionEncoder() = default;

  // Takes one frame. May block for as long as encoding a frame takes; the answers go to the sink,
  // before or after it returns.
  virtual void Encode(FrameRequest request) = 0;
  // From the next frame on.
  virtual void SetRates(const Rates &rates, int keyframe_interval) = 0;
  // Waits until every frame has been answered.
  virtual void Finish() = 0;
  // Does what is due between frames. Returns the latest time for the next call, or the end of time.
  virtual FrameClock::time_point Tend() = 0;
  // The reason why it accepts no more frames; nothing while it does.
  virtual const std::optional<std::string> &failure() const = 0;
};

// Opens an encoder that reports to `sink`, on the thread that will use it. Throws std::exception.
using EncoderFactory = std::function<std::unique_ptr<SessionEncoder>(EventSink &sink)>;

}  // namespace vsockenc
