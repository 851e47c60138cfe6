#include "videotoolbox_binding.h"

#include <VideoToolbox/VideoToolbox.h>

#include "../media/binding/picture_binding.h"
#include "cf.h"
#include "status.h"
#include "surface.h"

namespace vsockenc::vt {
namespace {

Napi::Value SurfacePicture(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  try {
    PictureLayout layout = ReadLayout(info[0].As<Napi::Object>());
    const uint32_t id = info[1].As<Napi::Number>().Uint32Value();
    return PictureBinding::Wrap(env, PictureOfSurface(std::move(layout), id, BudgetOf(info[2])));
  } catch (const PictureError &error) {
    throw PictureErrorObject(env, error);
  }
}

const char *CodecName(CFTypeRef type) {
  int32_t code = 0;
  if (type == nullptr || CFGetTypeID(type) != CFNumberGetTypeID()) return "other";
  CFNumberGetValue(static_cast<CFNumberRef>(type), kCFNumberSInt32Type, &code);
  if (code == kCMVideoCodecType_H264) return "h264";
  return code == kCMVideoCodecType_HEVC ? "h265" : "other";
}

Napi::Value ListEncoders(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  CfRef<CFArrayRef> list;
  const OSStatus status = VTCopyVideoEncoderList(nullptr, list.Out());
  if (status != noErr || !list) {
    throw Napi::Error::New(env, "VideoToolbox cannot list its encoders: " + Words(status));
  }
  const auto encoders = Napi::Array::New(env);
  for (CFIndex i = 0; i < CFArrayGetCount(list.get()); ++i) {
    const auto from = static_cast<CFDictionaryRef>(CFArrayGetValueAtIndex(list.get(), i));
    const auto value = [from](CFStringRef key) { return CFDictionaryGetValue(from, key); };
    const auto encoder = Napi::Object::New(env);
    encoder.Set("id", Text(value(kVTVideoEncoderList_EncoderID)));
    encoder.Set("name", Text(value(kVTVideoEncoderList_DisplayName)));
    encoder.Set("codec", CodecName(value(kVTVideoEncoderList_CodecType)));
    encoder.Set("hardware",
                value(kVTVideoEncoderList_IsHardwareAccelerated) == CFTypeRef(kCFBooleanTrue));
    encoders.Set(encoders.Length(), encoder);
  }
  return encoders;
}

}  // namespace

void Register(Napi::Env env, Napi::Object exports) {
  exports.Set("surfacePicture", Napi::Function::New<SurfacePicture>(env, "surfacePicture"));
  exports.Set("videoToolboxEncoders",
              Napi::Function::New<ListEncoders>(env, "videoToolboxEncoders"));
}

}  // namespace vsockenc::vt
