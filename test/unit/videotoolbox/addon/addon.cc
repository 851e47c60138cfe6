// shim.node: access of tests to the VideoToolbox shim inside media.node, and surfaces made by its C
// API. VideoToolboxShim of test/unit/videotoolbox/support/shim.ts.
#include <napi.h>
#include <vt_shim.h>

#include <cstring>
#include <map>

#include "../support/new_surface.h"

namespace {

using Surface = vsockenc::vt::CfRef<IOSurfaceRef>;

// Surfaces that a test has not released, by id.
std::map<uint32_t, Surface> surfaces;

IOSurfaceRef SurfaceOf(const Napi::Value &value) {
  const auto found = surfaces.find(value.As<Napi::Number>().Uint32Value());
  if (found == surfaces.end()) throw Napi::RangeError::New(value.Env(), "unknown surface");
  return found->second.get();
}

Napi::Value NumberOf(const Napi::CallbackInfo &info, uint64_t value) {
  return Napi::Number::New(info.Env(), static_cast<double>(value));
}

// createSurface({width, height, format, global}): number; the format is a code of four characters.
Napi::Value CreateSurface(const Napi::CallbackInfo &info) {
  const auto options = info[0].As<Napi::Object>();
  const auto number = [&](const char *key) {
    return options.Get(key).As<Napi::Number>().Int32Value();
  };
  OSType format = 0;
  for (const char letter : options.Get("format").As<Napi::String>().Utf8Value()) {
    format = format << 8 | static_cast<unsigned char>(letter);
  }
  Surface surface =
      NewSurface(format, number("width"), number("height"), options.Get("global").ToBoolean());
  if (!surface) throw Napi::Error::New(info.Env(), "no surface");
  const uint32_t id = IOSurfaceGetID(surface.get());
  surfaces[id] = std::move(surface);
  return NumberOf(info, id);
}

// drawSurface(id, pixels): rows of four bytes a pixel, without padding.
void DrawSurface(const Napi::CallbackInfo &info) {
  IOSurfaceRef surface = SurfaceOf(info[0]);
  const auto pixels = info[1].As<Napi::Uint8Array>();
  const size_t row = IOSurfaceGetWidth(surface) * 4;
  if (pixels.ByteLength() != row * IOSurfaceGetHeight(surface)) {
    throw Napi::RangeError::New(info.Env(), "the number of pixels differs from the surface's");
  }
  IOSurfaceLock(surface, 0, nullptr);
  auto *to = static_cast<uint8_t *>(IOSurfaceGetBaseAddress(surface));
  for (size_t y = 0; y < IOSurfaceGetHeight(surface); ++y) {
    std::memcpy(to + y * IOSurfaceGetBytesPerRow(surface), pixels.Data() + y * row, row);
  }
  IOSurfaceUnlock(surface, 0, nullptr);
}

Napi::Value BytesPerRow(const Napi::CallbackInfo &info) {
  return NumberOf(info, IOSurfaceGetBytesPerRow(SurfaceOf(info[0])));
}

Napi::Value UseCount(const Napi::CallbackInfo &info) {
  return NumberOf(info, static_cast<uint64_t>(IOSurfaceGetUseCount(SurfaceOf(info[0]))));
}

void ReleaseSurface(const Napi::CallbackInfo &info) {
  surfaces.erase(IOSurfaceGetID(SurfaceOf(info[0])));
}

// setScript(rules): see test/videotoolbox-shim/README.md.
void SetScript(const Napi::CallbackInfo &info) {
  vt_shim_set_script(info[0].As<Napi::String>().Utf8Value().c_str());
}

Napi::Value Counters(const Napi::CallbackInfo &info) {
  vt_shim_counters counted;
  vt_shim_get_counters(&counted);
  const auto object = Napi::Object::New(info.Env());
#define SET(name) object.Set(#name, static_cast<double>(counted.name));
  VT_SHIM_COUNTERS(SET)
  return object;
}

Napi::Value LiveObjects(const Napi::CallbackInfo &info) {
  return NumberOf(info, vt_shim_live_objects(nullptr));
}

Napi::Object Initialize(Napi::Env env, Napi::Object exports) {
  exports.Set("createSurface", Napi::Function::New<CreateSurface>(env));
  exports.Set("drawSurface", Napi::Function::New<DrawSurface>(env));
  exports.Set("bytesPerRow", Napi::Function::New<BytesPerRow>(env));
  exports.Set("useCount", Napi::Function::New<UseCount>(env));
  exports.Set("releaseSurface", Napi::Function::New<ReleaseSurface>(env));
  exports.Set("setScript", Napi::Function::New<SetScript>(env));
  exports.Set("counters", Napi::Function::New<Counters>(env));
  exports.Set("liveObjects", Napi::Function::New<LiveObjects>(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(shim, Initialize)
