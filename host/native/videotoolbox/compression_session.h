#pragma once

#include <VideoToolbox/VideoToolbox.h>

#include <cstdint>
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

// The encoder of a session.
struct EncoderReport {
  std::string encoder_id;            // empty if not reported
  std::optional<bool> hardware;      // some do not report it
  std::vector<std::string> refused;  // properties, with the error
};

// A VTCompressionSession with every property set, ready for frames. One thread, the destructor
// included, which waits for a callback that is under way: hold no lock that `outputs` needs.
class CompressionSession {
 public:
  // `outputs` must live as long as the session. Throws VideoToolboxError.
  CompressionSession(const Settings &settings, Rung rung, Outputs &outputs);
  // No output follows. Pending frames are abandoned.
  ~CompressionSession();
  CompressionSession(const CompressionSession &) = delete;
  CompressionSession &operator=(const CompressionSession &) = delete;

  Rung rung() const { return rung_; }
  const EncoderReport &report() const { return report_; }

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
  void Create(const Settings &settings, Outputs &outputs);
  void Identify();

  const Rung rung_;
  const Fraction framerate_;
  bool drains_ = false;  // after every frame: the encoder may hold some back
  CfRef<VTCompressionSessionRef> session_;
  EncoderReport report_;
};

}  // namespace vsockenc::vt
