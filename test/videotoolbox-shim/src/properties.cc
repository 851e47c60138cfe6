#include "properties.h"

#include <algorithm>
#include <string>

#include "violation.h"

namespace vt_shim {
namespace {

enum class Kind { kBoolean, kInteger, kReal, kText, kArray, kDictionary };

struct Property {
  CFStringRef key;
  Kind kind;
  bool read_only = false;
  double least = 0;  // of numbers that are plausible
  double most = 0;
  int since_macos = 10;
};

constexpr double kMostInt = 2147483647.0;

const std::vector<Property> &Table() {
  static const auto *table = new std::vector<Property>{
      {kVTCompressionPropertyKey_NumberOfPendingFrames, Kind::kInteger, true},
      {kVTCompressionPropertyKey_PixelBufferPoolIsShared, Kind::kBoolean, true},
      {kVTCompressionPropertyKey_VideoEncoderPixelBufferAttributes, Kind::kDictionary, true},
      {kVTCompressionPropertyKey_UsingHardwareAcceleratedVideoEncoder, Kind::kBoolean, true},
      {kVTCompressionPropertyKey_EncoderID, Kind::kText, true},
      {kVTCompressionPropertyKey_MaxFrameDelayCount, Kind::kInteger, false, -1, 64},
      {kVTCompressionPropertyKey_MaxKeyFrameInterval, Kind::kInteger, false, 0, kMostInt},
      {kVTCompressionPropertyKey_MaxKeyFrameIntervalDuration, Kind::kReal, false, 0, 1e9},
      {kVTCompressionPropertyKey_AverageBitRate, Kind::kInteger, false, 1000, kMostInt},
      {kVTCompressionPropertyKey_ConstantBitRate, Kind::kInteger, false, 1000, kMostInt, 13},
      {kVTCompressionPropertyKey_VariableBitRate, Kind::kInteger, false, 1000, kMostInt, 26},
      {kVTCompressionPropertyKey_ExpectedFrameRate, Kind::kReal, false, 0.1, 1000},
      {kVTCompressionPropertyKey_ExpectedDuration, Kind::kReal, false, 0, 1e9},
      {kVTCompressionPropertyKey_MaximumRealTimeFrameRate, Kind::kReal, false, 0.1, 1000, 14},
      {kVTCompressionPropertyKey_Quality, Kind::kReal, false, 0, 1},
      {kVTCompressionPropertyKey_ReferenceBufferCount, Kind::kInteger, false, 1, 16, 13},
      {kVTCompressionPropertyKey_MaxAllowedFrameQP, Kind::kInteger, false, 1, 51, 12},
      {kVTCompressionPropertyKey_MinAllowedFrameQP, Kind::kInteger, false, 1, 51, 13},
      {kVTCompressionPropertyKey_SpatialAdaptiveQPLevel, Kind::kInteger, false, -2, 2, 15},
      {kVTCompressionPropertyKey_MaxH264SliceBytes, Kind::kInteger, false, 1, kMostInt},
      {kVTCompressionPropertyKey_AllowFrameReordering, Kind::kBoolean},
      {kVTCompressionPropertyKey_AllowTemporalCompression, Kind::kBoolean},
      {kVTCompressionPropertyKey_AllowOpenGOP, Kind::kBoolean},
      {kVTCompressionPropertyKey_RealTime, Kind::kBoolean},
      {kVTCompressionPropertyKey_PrioritizeEncodingSpeedOverQuality, Kind::kBoolean, false, 0, 0,
       11},
      {kVTCompressionPropertyKey_MaximizePowerEfficiency, Kind::kBoolean},
      {kVTCompressionPropertyKey_DataRateLimits, Kind::kArray},
      {kVTCompressionPropertyKey_ProfileLevel, Kind::kText},
      {kVTCompressionPropertyKey_H264EntropyMode, Kind::kText},
      {kVTCompressionPropertyKey_ColorPrimaries, Kind::kText},
      {kVTCompressionPropertyKey_TransferFunction, Kind::kText},
      {kVTCompressionPropertyKey_YCbCrMatrix, Kind::kText},
  };
  return *table;
}

bool Supports(const EncoderEntry &encoder, const SessionPlan &plan, const Property &property) {
  const std::string_view key = property.key->view();
  return plan.macos >= property.since_macos &&
         std::none_of(encoder.unsupported.begin(), encoder.unsupported.end(),
                      [key](CFStringRef other) { return other->view() == key; }) &&
         std::none_of(plan.unsupported.begin(), plan.unsupported.end(), [&](const auto &rule) {
           return std::string_view(encoder.id).ends_with(rule.first) && rule.second == key;
         });
}

const Property *Find(const EncoderEntry &encoder, const SessionPlan &plan, CFStringRef key) {
  const std::string_view name = Check(key, "VTSession…Property").view();
  for (const Property &property : Table()) {
    if (property.key->view() == name) {
      return Supports(encoder, plan, property) ? &property : nullptr;
    }
  }
  return nullptr;
}

void CheckNumber(const Property &property, const __CFNumber &number) {
  const std::string name(property.key->view());
  if (property.kind == Kind::kInteger && number.floating) {
    Violation(name + ": type confusion: a CFNumber of floating point where an integer belongs");
  }
  if (!(number.real() >= property.least && number.real() <= property.most)) {
    Violation(name + ": " + number.Describe() +
              " is not plausible: were its bytes read as another type?");
  }
}

bool HasKind(CFTypeRef value, Kind kind) {
  switch (kind) {
    case Kind::kBoolean:
      return As<__CFBoolean>(value) != nullptr;
    case Kind::kInteger:
    case Kind::kReal:
      return As<__CFNumber>(value) != nullptr;
    case Kind::kText:
      return As<__CFString>(value) != nullptr;
    case Kind::kArray:
      return As<__CFArray>(value) != nullptr;
    case Kind::kDictionary:
      return As<__CFDictionary>(value) != nullptr;
  }
  return false;
}

// Profiles that libavcodec can be asked for; a low-latency H.264 encoder knows High alone.
bool KnowsProfile(const EncoderEntry &encoder, std::string_view profile) {
  if (encoder.codec == kCMVideoCodecType_HEVC) {
    return profile == "HEVC_Main_AutoLevel";
  }
  return profile == "H264_High_AutoLevel" ||
         (!encoder.low_latency &&
          (profile == "H264_Main_AutoLevel" || profile == "H264_Baseline_AutoLevel" ||
           profile == "H264_ConstrainedBaseline_AutoLevel"));
}

}  // namespace

OSStatus CheckProperty(const EncoderEntry &encoder, const SessionPlan &plan, CFStringRef key,
                       CFTypeRef value) {
  const Property *property = Find(encoder, plan, key);
  if (property == nullptr) {
    return kVTPropertyNotSupportedErr;
  }
  if (property->read_only) {
    return kVTPropertyReadOnlyErr;
  }
  if (value == nullptr) {
    return noErr;
  }
  if (!HasKind(value, property->kind)) {
    Violation(std::string(property->key->view()) + ": type confusion: a " +
              ToObject(value)->Describe() + " is of the wrong kind");
  }
  if (const auto *number = As<__CFNumber>(value); number != nullptr) {
    CheckNumber(*property, *number);
  }
  if (property->key == kVTCompressionPropertyKey_ProfileLevel &&
      !KnowsProfile(encoder, As<__CFString>(value)->view())) {
    return kVTParameterErr;
  }
  return noErr;
}

OSStatus CheckReadable(const EncoderEntry &encoder, const SessionPlan &plan, CFStringRef key) {
  return Find(encoder, plan, key) == nullptr ? OSStatus{kVTPropertyNotSupportedErr} : noErr;
}

Ref<__CFDictionary> DescribeProperties(const EncoderEntry &encoder, const SessionPlan &plan) {
  auto properties = Ref<__CFDictionary>::Adopt(new __CFDictionary(false));
  for (const Property &property : Table()) {
    if (!Supports(encoder, plan, property)) {
      continue;
    }
    auto description = Ref<__CFDictionary>::Adopt(new __CFDictionary(false));
    description->Set(kVTPropertyReadWriteStatusKey, property.read_only
                                                        ? kVTPropertyReadWriteStatus_ReadOnly
                                                        : kVTPropertyReadWriteStatus_ReadWrite);
    if (property.kind == Kind::kBoolean) {
      description->Set(kVTPropertyTypeKey, kVTPropertyType_Boolean);
    } else if (property.kind == Kind::kInteger || property.kind == Kind::kReal) {
      description->Set(kVTPropertyTypeKey, kVTPropertyType_Number);
    }
    properties->Set(property.key, description.get());
  }
  return properties;
}

}  // namespace vt_shim
