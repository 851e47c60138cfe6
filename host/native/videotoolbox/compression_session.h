#pragma once

#include <VideoToolbox/VideoToolbox.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cf.h"
#include "settings.h"

namespace vsockenc::vt {

// Encoder specifications, best first. Software is not among them: Apple's software encoder takes
// most of a second for a large frame.
enum class Rung { kLowLatency, kHardware };

// Receives the outputs of a session, on a thread of VideoToolbox, possibly before Encode returns,
// and possibly for a frame that Encode refused.
class Outputs {
 public:
  virtual ~Outputs() = default;
  // `sample` belongs to the caller, and may be NULL.
  virtual void OnOutput(uint64_t ticket, OSStatus status, VTEncodeInfoFlags flags,
                        CMSampleBufferRef sample) = 0;
};

// A VTCompressionSession with every property set, ready for frames. One thread, the destructor
// included, which waits for a callback that is under way: hold no lock that `outputs` needs.
class CompressionSession {
 public:
  // `outputs` must live as long as the session. Throws VideoToolboxError, also when the encoder
  // would encode another profile than the requested one.
  CompressionSession(const Settings &settings, Rung rung, Outputs &outputs);
  // No output follows. Pending frames are abandoned.
  ~CompressionSession();
  CompressionSession(const CompressionSession &) = delete;
  CompressionSession &operator=(const CompressionSession &) = delete;

  Rung rung() const { return rung_; }
  // "low-latency rate control, encoder com.apple…rtvc, hardware; refused: …": for the log.
  std::string Describe() const;

  // Buffers of the format that it encodes without converting. NULL once the session is invalid.
  CVPixelBufferPoolRef pool() const {
    return VTCompressionSessionGetPixelBufferPool(session_.get());
  }

  // `tick` counts frames and must increase. An output follows; after an error it may follow. May
  // block.
  OSStatus Encode(CVPixelBufferRef buffer, int64_t tick, bool key, uint64_t ticket);
  // Takes effect at the next frame.
  OSStatus SetRates(const Rates &rates);
  // Waits until every frame has had its output.
  void Complete() { VTCompressionSessionCompleteFrames(session_.get(), kCMTimeInvalid); }

 private:
  CompressionSession(CfRef<VTCompressionSessionRef> session, Rung rung, Fraction framerate)
      : rung_(rung), framerate_(framerate), session_(std::move(session)) {}
  CfRef<CFTypeRef> Property(CFStringRef key) const;
  void Identify();
  void SetProperties(const Settings &settings);
  bool Set(CFStringRef key, CFTypeRef value, bool required = false);

  const Rung rung_;
  const Fraction framerate_;
  const CfRef<VTCompressionSessionRef> session_;
  bool drains_ = false;               // after every frame: the encoder may hold some back
  std::string encoder_id_;            // empty if not reported
  std::optional<bool> hardware_;      // some do not report it
  std::vector<std::string> refused_;  // properties, "RealTime: -12900 (…)"; none is essential
};

// The encoder specifications of a stream, best first. A rung without an encoder is not tried again.
class Ladder {
 public:
  explicit Ladder(const Settings &settings);

  // A session of the best rung that works. Throws VideoToolboxError: its status tells whether
  // another attempt may help, its text has the result of each rung.
  std::unique_ptr<CompressionSession> Climb(const Settings &settings, Outputs &outputs) const;
  // Gives up a rung whose encoder does not exist. False when it was the last.
  bool Leave(Rung rung);

 private:
  Rung first_;
};

}  // namespace vsockenc::vt
