// The parts of gst.node; guest/bridge/gst.ts has their types.
#ifndef VSOCKENC_GUEST_BRIDGE_NATIVE_ADDON_H_
#define VSOCKENC_GUEST_BRIDGE_NATIVE_ADDON_H_

#include <napi.h>

namespace vsockenc {

// The class NativePipeline.
void RegisterPipeline(Napi::Env env, Napi::Object exports);
// createInputDevice().
void RegisterUinput(Napi::Env env, Napi::Object exports);

}  // namespace vsockenc

#endif  // VSOCKENC_GUEST_BRIDGE_NATIVE_ADDON_H_
