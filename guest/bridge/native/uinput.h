// Makes an input device of the kernel (uinput); JavaScript writes the events to its descriptor.
#ifndef VSOCKENC_GUEST_BRIDGE_NATIVE_UINPUT_H_
#define VSOCKENC_GUEST_BRIDGE_NATIVE_UINPUT_H_

#include <napi.h>

namespace vsockenc {

void RegisterUinput(Napi::Env env, Napi::Object exports);

}  // namespace vsockenc

#endif  // VSOCKENC_GUEST_BRIDGE_NATIVE_UINPUT_H_
