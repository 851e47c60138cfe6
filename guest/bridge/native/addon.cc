#include <gst/gst.h>
#include <napi.h>

#include "pipeline_binding.h"
#include "uinput.h"

namespace {

Napi::Object Initialize(Napi::Env env, Napi::Object exports) {
  // Without arguments: GStreamer is configured by its variables, not by the bridge's command line.
  GError *error = nullptr;
  if (!gst_init_check(nullptr, nullptr, &error)) {
    const std::string text = error == nullptr ? "unknown reason" : error->message;
    g_clear_error(&error);
    throw Napi::Error::New(env, "GStreamer does not start: " + text);
  }
  vsockenc::PipelineBinding::Register(env, exports);
  vsockenc::RegisterUinput(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(gst, Initialize)
