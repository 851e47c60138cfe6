#pragma once

#include <memory>
#include <string>

#include "compression_session.h"

namespace vsockenc::vt {

// The rungs of creating a session, for as long as a stream lasts: one that has proved not to exist
// is not tried again.
class Ladder {
 public:
  explicit Ladder(const Settings &settings);

  // A session of the best rung that gives one. Throws VideoToolboxError, whose status says whether
  // another try may help, and whose text what came of each rung.
  std::unique_ptr<CompressionSession> Climb(const Settings &settings, Outputs &outputs) const;
  // There is no encoder behind this rung after all. False when it was the last.
  bool Leave(Rung rung);

 private:
  Rung first_;
};

// "low-latency rate control, encoder com.apple…rtvc, hardware; not taken: …": for the log.
std::string Describe(const CompressionSession &session);

}  // namespace vsockenc::vt
