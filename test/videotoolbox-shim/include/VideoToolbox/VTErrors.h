#pragma once

#include <VideoToolbox/VTBase.h>

enum {
  kVTPropertyNotSupportedErr = -12900,
  kVTPropertyReadOnlyErr = -12901,
  kVTParameterErr = -12902,
  kVTInvalidSessionErr = -12903,
  kVTAllocationFailedErr = -12904,
  kVTPixelTransferNotSupportedErr = -12905,
  kVTCouldNotFindVideoDecoderErr = -12906,
  kVTCouldNotCreateInstanceErr = -12907,
  kVTCouldNotFindVideoEncoderErr = -12908,
  kVTVideoEncoderMalfunctionErr = -12912,
  kVTVideoEncoderNotAvailableNowErr = -12915,
  kVTVideoEncoderAuthorizationErr = -12211,
  kVTPixelTransferNotPermittedErr = -12218,
  kVTSessionMalfunctionErr = -17691,
  kVTVideoEncoderNeedsRosettaErr = -17693
};

typedef uint32_t VTEncodeInfoFlags;
enum { kVTEncodeInfo_Asynchronous = 1u << 0, kVTEncodeInfo_FrameDropped = 1u << 1 };
