#include <napi.h>

#include "picture_binding.h"
#include "session_binding.h"

#ifdef VSOCKENC_VIDEOTOOLBOX
#include "../../videotoolbox/videotoolbox_binding.h"
#endif

namespace {

Napi::Object Initialize(Napi::Env env, Napi::Object exports) {
  vsockenc::PictureBinding::Register(env, exports);
  vsockenc::RegisterSession(env, exports);
#ifdef VSOCKENC_VIDEOTOOLBOX
  vsockenc::vt::Register(env, exports);
#endif
  return exports;
}

}  // namespace

NODE_API_MODULE(media, Initialize)
