#include "encoders.h"

#include <algorithm>

namespace vt_shim {
namespace {

// Ids as Apple-silicon Macs list them. The low-latency ones set neither IsHardwareAccelerated nor
// UsingHardwareAcceleratedVideoEncoder (source: Chromium's vt_video_encode_accelerator).
const std::vector<EncoderEntry> &Catalog() {
  constexpr const char *kSpeed = "PrioritizeEncodingSpeedOverQuality";
  constexpr const char *kAdaptive = "SpatialAdaptiveQPLevel";
  constexpr CMVideoCodecType kH264 = kCMVideoCodecType_H264;
  constexpr CMVideoCodecType kHevc = kCMVideoCodecType_HEVC;
  static const auto *catalog = new std::vector<EncoderEntry>{
      {"ave.avc", "Apple H.264 (HW)", kH264, true, false, {"AllowOpenGOP"}},
      {"h264.rtvc",
       "Apple H.264 (RTVC)",
       kH264,
       true,
       true,
       {"AllowOpenGOP", kSpeed, kAdaptive, "VariableBitRate"}},
      {"ave.hevc", "Apple HEVC (HW)", kHevc, true, false, {}},
      {"hevc.rtvc", "Apple HEVC (RTVC)", kHevc, true, true, {kSpeed, kAdaptive, "VariableBitRate"}},
      {"h264", "Apple H.264 (SW)", kH264, false, false, {"AllowOpenGOP"}},
      {"hevc.vcp", "Apple HEVC (SW)", kHevc, false, false, {}},
  };
  return *catalog;
}

// An M1 Pro's limits in real time.
Size LargestOf(const EncoderEntry &entry, const SessionPlan &plan) {
  if (plan.max_width > 0) return {plan.max_width, plan.max_height};
  return entry.codec == kCMVideoCodecType_H264 ? Size{4096, 2304} : Size{8192, 4352};
}

struct Kind {
  const char *type;
  bool integer = false;
};
constexpr Kind kBoolean{__CFBoolean::kType}, kInteger{__CFNumber::kType, true};
constexpr Kind kReal{__CFNumber::kType}, kText{__CFString::kType}, kArray{__CFArray::kType};
enum class Access { kReadOnly, kReadWrite };

struct Property {
  std::string_view key;
  Kind kind;
  Access access;
  double least;  // of numbers that are plausible
  double most;
  int since_macos;
};
#define PROPERTY(name, kind, access, ...) {#name, kind, Access::access, __VA_ARGS__},
constexpr Property kProperties[] = {VT_SHIM_PROPERTIES(PROPERTY)};

// nullptr when the encoder does not support it.
const Property *Find(const EncoderEntry &encoder, const SessionPlan &plan, std::string_view key) {
  const auto *property = std::ranges::find(kProperties, key, &Property::key);
  const bool supported = property != std::end(kProperties) && plan.macos >= property->since_macos &&
                         std::ranges::find(encoder.unsupported, key) == encoder.unsupported.end() &&
                         std::ranges::none_of(plan.unsupported, [&](const auto &rule) {
                           return encoder.id().ends_with(rule.first) && rule.second == key;
                         });
  return supported ? property : nullptr;
}

void CheckNumber(const Property &property, const __CFNumber &number) {
  const std::string name(property.key);
  if (property.kind.integer && number.floating) {
    Violation(name + ": type confusion: a CFNumber of floating point where an integer belongs");
  }
  if (!(number.real() >= property.least && number.real() <= property.most)) {
    Violation(name + ": " + number.Describe() +
              " is not plausible: were its bytes read as another type?");
  }
}

// Profiles that libavcodec can be asked for; a low-latency H.264 encoder knows High alone.
bool KnowsProfile(const EncoderEntry &encoder, std::string_view profile) {
  if (encoder.codec == kCMVideoCodecType_HEVC) return profile == "HEVC_Main_AutoLevel";
  return profile == "H264_High_AutoLevel" ||
         (!encoder.low_latency &&
          (profile == "H264_Main_AutoLevel" || profile == "H264_ConstrainedBaseline_AutoLevel"));
}

}  // namespace

OSStatus CheckProperty(const EncoderEntry &encoder, const SessionPlan &plan, CFStringRef key,
                       CFTypeRef value) {
  const Property *property = Find(encoder, plan, key->view());
  if (property == nullptr) return kVTPropertyNotSupportedErr;
  if (property->access == Access::kReadOnly) return kVTPropertyReadOnlyErr;
  if (value == nullptr) return noErr;
  if (const Object &object = CheckObject(value); object.type() != property->kind.type) {
    Violation(std::string(property->key) + ": type confusion: a " + object.Describe() +
              " is of the wrong kind");
  }
  if (const auto *number = As<__CFNumber>(value); number != nullptr) {
    CheckNumber(*property, *number);
  }
  const bool refused =
      property->key == "ProfileLevel" && !KnowsProfile(encoder, As<__CFString>(value)->view());
  return refused ? OSStatus{kVTParameterErr} : noErr;
}

OSStatus CheckReadable(const EncoderEntry &encoder, const SessionPlan &plan, CFStringRef key) {
  return Find(encoder, plan, key->view()) == nullptr ? OSStatus{kVTPropertyNotSupportedErr}
                                                     : OSStatus{noErr};
}

EncoderChoice ChooseEncoder(int32_t width, int32_t height, CMVideoCodecType codec,
                            CFDictionaryRef specification, const SessionPlan &plan) {
  const bool low_latency =
      IsTrue(specification, kVTVideoEncoderSpecification_EnableLowLatencyRateControl);
  const bool require_hardware =
      IsTrue(specification, kVTVideoEncoderSpecification_RequireHardwareAcceleratedVideoEncoder);
  if (low_latency && plan.no_llrc != noErr) return {nullptr, plan.no_llrc};
  if (low_latency && plan.macos < (codec == kCMVideoCodecType_HEVC ? 14 : 12)) {
    return {nullptr, kVTCouldNotFindVideoEncoderErr};
  }
  for (const EncoderEntry &entry : Catalog()) {
    const bool allowed = entry.hardware ? !plan.no_hardware : !require_hardware;
    const auto [most_width, most_height] = LargestOf(entry, plan);
    if (entry.codec == codec && allowed && entry.low_latency == low_latency &&
        width <= most_width && height <= most_height) {
      return {&entry, noErr};
    }
  }
  return {nullptr, kVTCouldNotFindVideoEncoderErr};
}

}  // namespace vt_shim

OSStatus VTCopyVideoEncoderList(CFDictionaryRef, CFArrayRef *encoders) {
  using vt_shim::Make;
  if (encoders == nullptr) return kVTParameterErr;
  const auto plan = vt_shim::CurrentSessionPlan();
  auto *list = new __CFArray;
  for (const auto &entry : vt_shim::Catalog()) {
    if (entry.hardware && plan.no_hardware) continue;
    auto encoder = Make<__CFDictionary>();
    encoder->Set(kVTVideoEncoderList_CodecType, Make<__CFNumber>(int64_t{entry.codec}).get());
    encoder->Set(kVTVideoEncoderList_EncoderID, Make<__CFString>(entry.id()).get());
    encoder->Set(kVTVideoEncoderList_DisplayName, Make<__CFString>(std::string(entry.name)).get());
    if (entry.hardware && !entry.low_latency) {
      encoder->Set(kVTVideoEncoderList_IsHardwareAccelerated, kCFBooleanTrue);
    }
    list->values.push_back(vt_shim::AnyRef::Adopt(encoder.Give()));
  }
  *encoders = list;
  return noErr;
}
