#pragma once

#include <napi.h>

namespace vsockenc::vt {

// Exports of media.node when it is built with VideoToolbox, in addition to the encoder
// (session_settings_binding.h):
//   surfacePicture(layout, id, budget): NativePicture  (host/native/picture.ts)
//   videoToolboxEncoders(): VideoToolboxEncoder[]  (cli/doctor/macos.ts)
void Register(Napi::Env env, Napi::Object exports);

}  // namespace vsockenc::vt
