#pragma once

#include <napi.h>

#include "../encoder/session_encoder.h"

namespace vsockenc {

// The encoder that NativeSettings of host/encoders/native-session.ts describes: VideoToolbox's
// where `backend` is "videotoolbox", else one of libavcodec's. Throws Napi::TypeError where this
// addon is built without it.
EncoderFactory ReadEncoder(const Napi::Object &settings);

Rates ReadRates(const Napi::Object &from);

}  // namespace vsockenc
