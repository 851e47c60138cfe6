#include "addon.h"

namespace {

Napi::Object Initialize(Napi::Env env, Napi::Object exports) {
  vsockenc::RegisterPoller(env, exports);
  vsockenc::RegisterSockets(env, exports);
  vsockenc::RegisterMemory(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(os, Initialize)
