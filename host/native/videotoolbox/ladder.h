#pragma once

#include <memory>
#include <string>

#include "compression_session.h"

namespace vsockenc::vt {

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

// "low-latency rate control, encoder com.apple…rtvc, hardware; refused: …": for the log.
std::string Describe(const CompressionSession &session);

}  // namespace vsockenc::vt
