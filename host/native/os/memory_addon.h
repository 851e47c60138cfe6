// GuestMemory and Virtqueue as JavaScript classes, and the functions about shareable memory.
//
// Addresses and offsets are JavaScript numbers: the TypeScript side refuses what is not a safe
// integer. Bytes are always copied; no ArrayBuffer ever stands over guest memory.
#ifndef VSOCKENC_HOST_NATIVE_OS_MEMORY_ADDON_H_
#define VSOCKENC_HOST_NATIVE_OS_MEMORY_ADDON_H_

#include <napi.h>

namespace vsockenc {

void RegisterMemory(Napi::Env env, Napi::Object exports);

}  // namespace vsockenc

#endif  // VSOCKENC_HOST_NATIVE_OS_MEMORY_ADDON_H_
