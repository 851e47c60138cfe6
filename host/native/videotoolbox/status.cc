#include "status.h"

namespace vsockenc::vt {
namespace {

const char *Meaning(OSStatus status) {
  switch (status) {
    case kVTPropertyNotSupportedErr:
      return "the property is not supported";
    case kVTParameterErr:
      return "a parameter is wrong";
    case kVTInvalidSessionErr:
      return "the session is invalid";
    case kVTAllocationFailedErr:
      return "out of memory";
    case kVTPixelTransferNotSupportedErr:
      return "these pixel formats cannot be converted";
    case kVTCouldNotFindVideoEncoderErr:
      return "there is no such encoder";
    case kVTCouldNotCreateInstanceErr:
    case kVTVideoEncoderNotAvailableNowErr:
      return "no encoder is free";
    case kVTVideoEncoderMalfunctionErr:
      return "the encoder malfunctions";
    case kVTSessionMalfunctionErr:
      return "the session malfunctions";
    default:
      return nullptr;
  }
}

}  // namespace

Remedy RemedyFor(OSStatus status) {
  switch (status) {
    case kVTCouldNotCreateInstanceErr:
    case kVTVideoEncoderNotAvailableNowErr:
      return Remedy::kWait;
    case kVTCouldNotFindVideoEncoderErr:
      return Remedy::kNextRung;
    default:
      return Remedy::kNewSession;
  }
}

std::string Words(OSStatus status) {
  const char *meaning = Meaning(status);
  return std::to_string(status) + (meaning == nullptr ? "" : " (" + std::string(meaning) + ")");
}

}  // namespace vsockenc::vt
