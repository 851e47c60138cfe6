#include "status.h"

#include <algorithm>

namespace vsockenc::vt {
namespace {

struct Known {
  OSStatus status;
  const char *meaning;
  Remedy remedy;
};
constexpr Known kKnown[] = {
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

}  // namespace

Remedy RemedyFor(OSStatus status) {
  const auto *known = std::ranges::find(kKnown, status, &Known::status);
  return known == std::end(kKnown) ? Remedy::kNewSession : known->remedy;
}

std::string Words(OSStatus status) {
  const auto *known = std::ranges::find(kKnown, status, &Known::status);
  const std::string code = std::to_string(status);
  return known == std::end(kKnown) ? code : code + " (" + known->meaning + ")";
}

}  // namespace vsockenc::vt
