// shim.node: access of tests to the VideoToolbox shim inside media.node, and surfaces made by its C
// API. VideoToolboxShim of test/unit/videotoolbox/support/shim.ts.
#include <IOSurface/IOSurface.h>
#include <napi.h>
#include <vt_shim.h>

#include <cstring>
#include <map>
#include <string>

namespace {

// Surfaces that a test has not released, by id.
std::map<uint32_t, IOSurfaceRef> surfaces;

IOSurfaceRef SurfaceOf(const Napi::Value &value) {
  const auto found = surfaces.find(value.As<Napi::Number>().Uint32Value());
  if (found == surfaces.end()) throw Napi::RangeError::New(value.Env(), "unknown surface");
  return found->second;
}

void SetNumber(CFMutableDictionaryRef properties, CFStringRef key, int64_t value) {
  CFNumberRef number = CFNumberCreate(kCFAllocatorDefault, kCFNumberSInt64Type, &value);
  CFDictionarySetValue(properties, key, number);
  CFRelease(number);
}

// createSurface({width, height, format, global}): number; the format is a code of four characters.
Napi::Value CreateSurface(const Napi::CallbackInfo &info) {
  const auto options = info[0].As<Napi::Object>();
  const auto number = [&](const char *key) {
    return options.Get(key).As<Napi::Number>().Int64Value();
  };
  int64_t format = 0;
  for (const char letter : options.Get("format").As<Napi::String>().Utf8Value()) {
    format = format << 8 | static_cast<unsigned char>(letter);
  }
  CFMutableDictionaryRef properties = CFDictionaryCreateMutable(
      kCFAllocatorDefault, 0, &kCFTypeDictionaryKeyCallBacks, &kCFTypeDictionaryValueCallBacks);
  SetNumber(properties, kIOSurfaceWidth, number("width"));
  SetNumber(properties, kIOSurfaceHeight, number("height"));
  SetNumber(properties, kIOSurfacePixelFormat, format);
  const bool global = options.Get("global").ToBoolean();
  CFDictionarySetValue(properties, kIOSurfaceIsGlobal, global ? kCFBooleanTrue : kCFBooleanFalse);
  IOSurfaceRef surface = IOSurfaceCreate(properties);
  CFRelease(properties);
  if (surface == nullptr) throw Napi::Error::New(info.Env(), "no surface");
  const uint32_t id = IOSurfaceGetID(surface);
  surfaces[id] = surface;
  return Napi::Number::New(info.Env(), id);
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
  return Napi::Number::New(info.Env(),
                           static_cast<double>(IOSurfaceGetBytesPerRow(SurfaceOf(info[0]))));
}

Napi::Value UseCount(const Napi::CallbackInfo &info) {
  return Napi::Number::New(info.Env(), IOSurfaceGetUseCount(SurfaceOf(info[0])));
}

void ReleaseSurface(const Napi::CallbackInfo &info) {
  IOSurfaceRef surface = SurfaceOf(info[0]);
  surfaces.erase(IOSurfaceGetID(surface));
  CFRelease(surface);
}

// setScript(rules): see test/videotoolbox-shim/README.md.
void SetScript(const Napi::CallbackInfo &info) {
  vt_shim_set_script(info[0].As<Napi::String>().Utf8Value().c_str());
}

Napi::Value Counters(const Napi::CallbackInfo &info) {
  vt_shim_counters counted;
  vt_shim_get_counters(&counted);
  const auto object = Napi::Object::New(info.Env());
  const auto set = [&](const char *name, uint64_t value) {
    object.Set(name, static_cast<double>(value));
  };
  set("sessionsCreated", counted.sessions_created);
  set("sessionsRefused", counted.sessions_refused);
  set("framesSubmitted", counted.frames_submitted);
  set("framesDropped", counted.frames_dropped);
  set("framesFailed", counted.frames_failed);
  set("untaggedFrames", counted.untagged_frames);
  set("convertedFrames", counted.converted_frames);
  set("transfers", counted.transfers);
  set("encodingNs", counted.encoding_ns);
  return object;
}

void ResetCounters(const Napi::CallbackInfo &) {
  vt_shim_reset_counters();
}

Napi::Value LiveObjects(const Napi::CallbackInfo &info) {
  return Napi::Number::New(info.Env(), static_cast<double>(vt_shim_live_objects(nullptr)));
}

Napi::Object Initialize(Napi::Env env, Napi::Object exports) {
  exports.Set("createSurface", Napi::Function::New<CreateSurface>(env));
  exports.Set("drawSurface", Napi::Function::New<DrawSurface>(env));
  exports.Set("bytesPerRow", Napi::Function::New<BytesPerRow>(env));
  exports.Set("useCount", Napi::Function::New<UseCount>(env));
  exports.Set("releaseSurface", Napi::Function::New<ReleaseSurface>(env));
  exports.Set("setScript", Napi::Function::New<SetScript>(env));
  exports.Set("counters", Napi::Function::New<Counters>(env));
  exports.Set("resetCounters", Napi::Function::New<ResetCounters>(env));
  exports.Set("liveObjects", Napi::Function::New<LiveObjects>(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(shim, Initialize)
