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

#include "../picture/picture.h"
#include "rates.h"

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

// What comes of the frames. Any thread, one call at a time for a frame; must not block, must not
// throw, and must not call the encoder.
class EncoderSink {
 public:
  virtual ~EncoderSink() = default;
  // The frame's pixels will not be read again. Every frame gets one, ahead of one of the next
  // three.
  virtual void OnRead(uint32_t frame) = 0;
  virtual void OnPacket(uint32_t frame, AccessUnit unit, FrameTimes times) = 0;
  // The encoder gave no access unit for it.
  virtual void OnDropped(uint32_t frame) = 0;
  virtual void OnFrameFailed(uint32_t frame, const std::string &why) = 0;
  // For the log: which encoder it is, what it refused, what has been mended.
  virtual void OnNote(const std::string &text) = 0;
  // Tend() should be called soon.
  virtual void OnAttention() = 0;
};

// An encoder as a session's thread drives it, which alone calls it, the destructor included.
class SessionEncoder {
 public:
  virtual ~SessionEncoder() = default;

  // Takes one frame. Waits while the encoder is full, so it may take as long as a frame's encoding;
  // the answers come through the sink, before or after it has returned.
  virtual void Encode(FrameRequest request) = 0;
  // From the next frame on.
  virtual void SetRates(const Rates &rates, int keyframe_interval) = 0;
  // Waits until every frame has been answered.
  virtual void Finish() = 0;
  // What is due without a new frame. Returns when to call again at the latest; the end of time when
  // nothing will be due.
  virtual FrameClock::time_point Tend() = 0;
  // Why it takes no more frames; nothing while it does.
  virtual const std::optional<std::string> &failure() const = 0;
};

// Opens an encoder that tells `sink` of its frames; on the thread that will use it. Throws
// std::exception.
using EncoderFactory = std::function<std::unique_ptr<SessionEncoder>(EncoderSink &sink)>;

}  // namespace vsockenc
