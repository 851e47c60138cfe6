#pragma once

#include <napi.h>

namespace vsockenc::vt {

// What media.node has where it was built with VideoToolbox, beside the encoder that
// session_settings_binding.h reads:
//   surfacePicture(layout, id): NativePicture      (host/native/picture.ts)
//   videoToolboxEncoders(): VideoToolboxEncoder[]  (cli/doctor/macos.ts)
void Register(Napi::Env env, Napi::Object exports);

}  // namespace vsockenc::vt
