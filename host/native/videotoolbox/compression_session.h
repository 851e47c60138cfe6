#pragma once

#include <VideoToolbox/VideoToolbox.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cf.h"
#include "settings.h"

namespace vsockenc::vt {

// What a session is created by, best first. There is no third one: Apple's software encoder takes
// most of a second for a large frame, so it must never be what one gets unasked.
enum class Rung { kLowLatency, kHardware };

// Receives what a session's frames become, on a thread of VideoToolbox, possibly before Encode has
// returned, and for a frame that Encode has refused too.
class Outputs {
 public:
  virtual ~Outputs() = default;
  // `sample` belongs to the caller; NULL where there is none.
  virtual void OnOutput(uint64_t ticket, OSStatus status, VTEncodeInfoFlags flags,
                        CMSampleBufferRef sample) = 0;
};

// What came of asking for an encoder.
struct EncoderReport {
  std::string encoder_id;            // empty where it does not tell
  std::optional<bool> hardware;      // nothing where it does not tell, which some do not
  std::vector<std::string> refused;  // properties, with what was answered
};

// A VTCompressionSession with every property set, ready for frames. One thread, the destructor
// included, which waits for a callback that is under way: hold no lock that `outputs` needs.
class CompressionSession {
 public:
  // `outputs` must live as long as the session. Throws VideoToolboxError.
  CompressionSession(const Settings &settings, Rung rung, Outputs &outputs);
  // No output follows. Frames that are still under way are given up.
  ~CompressionSession();
  CompressionSession(const CompressionSession &) = delete;
  CompressionSession &operator=(const CompressionSession &) = delete;

  Rung rung() const { return rung_; }
  const EncoderReport &report() const { return report_; }

  // Buffers of the format that it encodes without converting. NULL once the session is invalid.
  CVPixelBufferPoolRef pool() const {
    return VTCompressionSessionGetPixelBufferPool(session_.get());
  }

  // `tick` counts frames and must rise. An output follows unless it fails, and may follow then.
  // May block.
  OSStatus Encode(CVPixelBufferRef buffer, int64_t tick, bool key, uint64_t ticket);
  // From the next frame on.
  OSStatus SetRates(const Rates &rates);
  // Waits until every frame has had its output.
  void Complete() { VTCompressionSessionCompleteFrames(session_.get(), kCMTimeInvalid); }

 private:
  void Create(const Settings &settings, Outputs &outputs);
  void Identify();

  const Rung rung_;
  const Fraction framerate_;
  bool drains_ = false;  // every frame: the encoder may keep some back
  CfRef<VTCompressionSessionRef> session_;
  EncoderReport report_;
};

}  // namespace vsockenc::vt
