#include "addon.h"

#include <gst/gst.h>

#include <string>

namespace {

Napi::Object Initialize(Napi::Env env, Napi::Object exports) {
  // No arguments: environment variables configure GStreamer, not the bridge's command line.
  GError *error = nullptr;
  if (!gst_init_check(nullptr, nullptr, &error)) {
    const std::string text = error == nullptr ? "unknown reason" : error->message;
    g_clear_error(&error);
    throw Napi::Error::New(env, "cannot initialise GStreamer: " + text);
  }
  vsockenc::RegisterPipeline(env, exports);
  vsockenc::RegisterUinput(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(gst, Initialize)
