#pragma once

#include <VideoToolbox/VideoToolbox.h>

#include <stdexcept>
#include <string>

namespace vsockenc::vt {

// What a session that has answered with an error needs.
enum class Remedy {
  kNewSession,  // it is of no use any more: sleep, a reset GPU, a daemon that died
  kWait,        // every encoder of the machine is busy
  kNextRung,    // there is no such encoder: a less demanding specification may find one
};

// A status that is not in the table counts as kNewSession: a bounded number of attempts tells
// whether it helps.
Remedy RemedyFor(OSStatus status);

// "-12903 (the session is invalid)"
std::string Words(OSStatus status);

// VideoToolbox or CoreVideo refused or broke.
class VideoToolboxError : public std::runtime_error {
 public:
  VideoToolboxError(OSStatus status, const std::string &what)
      : std::runtime_error(what + ": " + Words(status)), status_(status) {}
  OSStatus status() const { return status_; }

 private:
  OSStatus status_;
};

}  // namespace vsockenc::vt
