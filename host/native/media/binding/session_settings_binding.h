#pragma once

#include <napi.h>

#include "../encoder/session_encoder.h"

namespace vsockenc {

// The encoder that NativeSettings of host/encoders/native-session.ts describes: VideoToolbox's if
// `backend` is "videotoolbox", otherwise one of libavcodec's. Throws Napi::TypeError if this addon
// was built without it.
EncoderFactory ReadEncoder(const Napi::Object &settings);
bool IsVideoToolbox(const Napi::Object &settings);

Rates ReadRates(const Napi::Object &from);

}  // namespace vsockenc
