#include "session_settings_binding.h"

#include <string>
#include <utility>

#include "../encoder/lavc_encoder.h"

#ifdef VSOCKENC_VIDEOTOOLBOX
#include "../../videotoolbox/encoder.h"
#endif

namespace vsockenc {
namespace {

int Integer(const Napi::Object &from, const char *key) {
  return from.Get(key).As<Napi::Number>().Int32Value();
}

std::string Text(const Napi::Object &from, const char *key) {
  return from.Get(key).As<Napi::String>().Utf8Value();
}

Fraction ReadFraction(const Napi::Object &from, const char *key) {
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

void ReadStream(const Napi::Object &from, StreamSettings &to) {
  to.width = Integer(from, "width");
  to.height = Integer(from, "height");
  to.framerate = ReadFraction(from, "framerate");
  to.fixed_rate = from.Get("fixedRate").ToBoolean();
  to.pixel_aspect_ratio = ReadFraction(from, "pixelAspectRatio");
  to.colour = ReadColour(from);
  to.rgb = from.Get("rgb").ToBoolean();
  to.rates = ReadRates(from.Get("rates").As<Napi::Object>());
  to.keyframe_interval = Integer(from, "keyframeInterval");
}

EncoderInput ReadInput(const Napi::Object &from) {
  const std::string input = Text(from, "input");
  if (input == "vaapi") return EncoderInput::kVaapi;
  return input == "nv12" ? EncoderInput::kNv12 : EncoderInput::kI420;
}

LavcSettings ReadLavc(const Napi::Object &from) {
  LavcSettings settings{};
  ReadStream(from, settings);
  settings.name = Text(from, "name");
  settings.input = ReadInput(from);
  settings.live_rate = from.Get("liveRate").ToBoolean();
  settings.threads = Integer(from, "threads");
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
  const std::string profile = Text(from, "profile");
  if (profile == "constrained-baseline") return vt::Profile::kConstrainedBaseline;
  return profile == "main" ? vt::Profile::kMain : vt::Profile::kHigh;
}

vt::Settings ReadVideoToolbox(const Napi::Object &from) {
  vt::Settings settings{};
  ReadStream(from, settings);
  settings.codec = Text(from, "codec") == "h265" ? vt::Codec::kHevc : vt::Codec::kH264;
  settings.profile = ReadProfile(from);
  return settings;
}
#endif

}  // namespace

Rates ReadRates(const Napi::Object &from) {
  return {.bits_per_second = from.Get("bitsPerSecond").As<Napi::Number>().Int64Value(),
          .peak_bits_per_second = from.Get("peakBitsPerSecond").As<Napi::Number>().Int64Value(),
          .buffer_bits = Integer(from, "bufferBits")};
}

bool IsVideoToolbox(const Napi::Object &settings) {
  return Text(settings, "backend") == "videotoolbox";
}

EncoderFactory ReadEncoder(const Napi::Object &settings) {
  if (!IsVideoToolbox(settings)) return OpenLavc(ReadLavc(settings));
#ifdef VSOCKENC_VIDEOTOOLBOX
  return vt::OpenVideoToolbox(ReadVideoToolbox(settings));
#else
  throw Napi::TypeError::New(settings.Env(), "this addon was built without VideoToolbox");
#endif
}

}  // namespace vsockenc
