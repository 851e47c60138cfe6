#include "session_settings_binding.h"

#include <string>
#include <utility>

#include "../encoder/session_lavc.h"

#ifdef VSOCKENC_VIDEOTOOLBOX
#include "../../videotoolbox/encoder.h"
#endif

namespace vsockenc {
namespace {

int Integer(const Napi::Object &from, const char *key) {
  return from.Get(key).As<Napi::Number>().Int32Value();
}

Rational ReadRational(const Napi::Object &from, const char *key) {
  const auto value = from.Get(key).As<Napi::Object>();
  return {Integer(value, "numerator"), Integer(value, "denominator")};
}

ColourDescription ReadColour(const Napi::Object &from) {
  const auto colour = from.Get("colorimetry").As<Napi::Object>();
  return {
      .primaries = Integer(colour, "primaries"),
      .transfer = Integer(colour, "transfer"),
      .matrix = Integer(colour, "matrix"),
      .full_range = colour.Get("fullRange").ToBoolean(),
  };
}

EncoderInput ReadInput(const Napi::Object &from) {
  const std::string input = from.Get("input").As<Napi::String>().Utf8Value();
  if (input == "vaapi") return EncoderInput::kVaapi;
  return input == "nv12" ? EncoderInput::kNv12 : EncoderInput::kI420;
}

EncoderSettings ReadLavc(const Napi::Object &from) {
  EncoderSettings settings{
      .name = from.Get("name").As<Napi::String>().Utf8Value(),
      .width = Integer(from, "width"),
      .height = Integer(from, "height"),
      .framerate = ReadRational(from, "framerate"),
      .fixed_rate = from.Get("fixedRate").ToBoolean(),
      .pixel_aspect_ratio = ReadRational(from, "pixelAspectRatio"),
      .colour = ReadColour(from),
      .rgb = from.Get("rgb").ToBoolean(),
      .input = ReadInput(from),
      .live_rate = from.Get("liveRate").ToBoolean(),
      .rates = ReadRates(from.Get("rates").As<Napi::Object>()),
      .keyframe_interval = Integer(from, "keyframeInterval"),
      .threads = Integer(from, "threads"),
      .options = {},
  };
  const auto options = from.Get("options").As<Napi::Object>();
  const Napi::Array keys = options.GetPropertyNames();
  for (uint32_t i = 0; i < keys.Length(); ++i) {
    const Napi::Value key = keys[i];
    settings.options.emplace_back(key.ToString().Utf8Value(),
                                  options.Get(key).ToString().Utf8Value());
  }
  return settings;
}

#ifdef VSOCKENC_VIDEOTOOLBOX
vt::Profile ReadProfile(const Napi::Object &from) {
  const std::string profile = from.Get("profile").As<Napi::String>().Utf8Value();
  if (profile == "constrained-baseline") return vt::Profile::kConstrainedBaseline;
  return profile == "main" ? vt::Profile::kMain : vt::Profile::kHigh;
}

vt::Settings ReadVideoToolbox(const Napi::Object &from) {
  const bool hevc = from.Get("codec").As<Napi::String>().Utf8Value() == "h265";
  return {
      .codec = hevc ? vt::Codec::kHevc : vt::Codec::kH264,
      .profile = ReadProfile(from),
      .width = Integer(from, "width"),
      .height = Integer(from, "height"),
      .framerate = ReadRational(from, "framerate"),
      .fixed_rate = from.Get("fixedRate").ToBoolean(),
      .pixel_aspect_ratio = ReadRational(from, "pixelAspectRatio"),
      .colour = ReadColour(from),
      .rgb = from.Get("rgb").ToBoolean(),
      .rates = ReadRates(from.Get("rates").As<Napi::Object>()),
      .keyframe_interval = Integer(from, "keyframeInterval"),
  };
}
#endif

}  // namespace

Rates ReadRates(const Napi::Object &from) {
  return {.bits_per_second = from.Get("bitsPerSecond").As<Napi::Number>().Int64Value(),
          .peak_bits_per_second = from.Get("peakBitsPerSecond").As<Napi::Number>().Int64Value(),
          .buffer_bits = Integer(from, "bufferBits")};
}

EncoderFactory ReadEncoder(const Napi::Object &settings) {
  const Napi::Value backend = settings.Get("backend");
  if (!backend.IsString() || backend.As<Napi::String>().Utf8Value() != "videotoolbox") {
    return OpenLavc(ReadLavc(settings));
  }
#ifdef VSOCKENC_VIDEOTOOLBOX
  return vt::OpenVideoToolbox(ReadVideoToolbox(settings));
#else
  throw Napi::TypeError::New(settings.Env(), "this addon is built without VideoToolbox");
#endif
}

}  // namespace vsockenc
