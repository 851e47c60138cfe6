#pragma once

#include <VideoToolbox/VideoToolbox.h>

#include <stdexcept>
#include <string>

namespace vsockenc::vt {

// The remedy for a session that returned an error.
enum class Remedy {
  kNewSession,  // the session is unusable: sleep, a GPU reset, a dead daemon
  kWait,        // every encoder of the machine is busy
  kNextRung,    // no such encoder: a less demanding specification may find one
};

// Unknown codes get kNewSession; the number of attempts is bounded.
Remedy RemedyFor(OSStatus status);

// "-12903 (invalid session)"
std::string Words(OSStatus status);

// An error of VideoToolbox or CoreVideo.
class VideoToolboxError : public std::runtime_error {
 public:
  VideoToolboxError(OSStatus status, const std::string &what)
      : std::runtime_error(what + ": " + Words(status)), status_(status) {}
  OSStatus status() const { return status_; }

 private:
  OSStatus status_;
};

}  // namespace vsockenc::vt
