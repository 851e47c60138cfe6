#pragma once

#include <VideoToolbox/VideoToolbox.h>

#include <algorithm>
#include <stdexcept>
#include <string>

namespace vsockenc::vt {

// The remedy for a session that returned an error.
enum class Remedy {
  kNewSession,  // the session is unusable: sleep, a GPU reset, a dead daemon
  kWait,        // every encoder of the machine is busy
  kNextRung,    // no such encoder: a less demanding specification may find one
};

struct KnownStatus {
  OSStatus status;
  const char *meaning;
  Remedy remedy;
};
constexpr KnownStatus kKnownStatuses[] = {
    {kVTPropertyNotSupportedErr, "property not supported", Remedy::kNewSession},
    {kVTParameterErr, "invalid parameter", Remedy::kNewSession},
    {kVTInvalidSessionErr, "invalid session", Remedy::kNewSession},
    {kVTAllocationFailedErr, "out of memory", Remedy::kNewSession},
    {kVTPixelTransferNotSupportedErr, "no conversion between these pixel formats",
     Remedy::kNewSession},
    {kVTCouldNotFindVideoEncoderErr, "no such encoder", Remedy::kNextRung},
    {kVTCouldNotCreateInstanceErr, "no encoder is free", Remedy::kWait},
    {kVTVideoEncoderNotAvailableNowErr, "no encoder is free", Remedy::kWait},
    {kVTVideoEncoderMalfunctionErr, "encoder malfunction", Remedy::kNewSession},
    {kVTSessionMalfunctionErr, "session malfunction", Remedy::kNewSession},
};

// Unknown codes get kNewSession; the number of attempts is bounded.
inline Remedy RemedyFor(OSStatus status) {
  const auto *known = std::ranges::find(kKnownStatuses, status, &KnownStatus::status);
  return known == std::end(kKnownStatuses) ? Remedy::kNewSession : known->remedy;
}

// "-12903 (invalid session)"
inline std::string Words(OSStatus status) {
  const auto *known = std::ranges::find(kKnownStatuses, status, &KnownStatus::status);
  const std::string code = std::to_string(status);
  return known == std::end(kKnownStatuses) ? code : code + " (" + known->meaning + ")";
}

// An error of VideoToolbox or CoreVideo.
class VideoToolboxError : public std::runtime_error {
 public:
  VideoToolboxError(OSStatus status, const std::string &what)
      : std::runtime_error(what + ": " + Words(status)), status_(status) {}
  OSStatus status() const { return status_; }

 private:
  OSStatus status_;
};

// Throws VideoToolboxError unless `status` is noErr.
inline void Require(OSStatus status, const std::string &what) {
  if (status != noErr) throw VideoToolboxError(status, what);
}

}  // namespace vsockenc::vt
