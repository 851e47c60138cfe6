#include <napi.h>

#include "addon_data.h"
#include "picture_binding.h"
#include "session_binding.h"

namespace {

Napi::Object Initialize(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new vsockenc::AddonData);  // Node-API deletes it with the environment
  vsockenc::PictureBinding::Register(env, exports);
  vsockenc::SessionBinding::Register(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(media, Initialize)
