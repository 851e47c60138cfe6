#include "encoder_catalog.h"

#include <VideoToolbox/VideoToolbox.h>

#include "cf_types.h"
#include "properties.h"

namespace vt_shim {

// Ids as Apple-silicon Macs list them. The low-latency ones set neither IsHardwareAccelerated nor
// UsingHardwareAcceleratedVideoEncoder (Chromium's vt_video_encode_accelerator says so). The limits
// are an M1 Pro's in real time.
std::span<const EncoderEntry> EncoderCatalog() {
  static const auto *catalog = new std::vector<EncoderEntry>{
      {"com.apple.videotoolbox.videoencoder.ave.avc",
       "Apple H.264 (HW)",
       kCMVideoCodecType_H264,
       true,
       false,
       4096,
       2304,
       {kVTCompressionPropertyKey_AllowOpenGOP}},
      {"com.apple.videotoolbox.videoencoder.h264.rtvc",
       "Apple H.264 (RTVC)",
       kCMVideoCodecType_H264,
       true,
       true,
       4096,
       2304,
       {kVTCompressionPropertyKey_AllowOpenGOP,
        kVTCompressionPropertyKey_PrioritizeEncodingSpeedOverQuality,
        kVTCompressionPropertyKey_SpatialAdaptiveQPLevel, kVTCompressionPropertyKey_VariableBitRate,
        kVTCompressionPropertyKey_MaxAllowedFrameQP}},
      {"com.apple.videotoolbox.videoencoder.ave.hevc",
       "Apple HEVC (HW)",
       kCMVideoCodecType_HEVC,
       true,
       false,
       8192,
       4352,
       {kVTCompressionPropertyKey_H264EntropyMode, kVTCompressionPropertyKey_MaxH264SliceBytes}},
      {"com.apple.videotoolbox.videoencoder.hevc.rtvc",
       "Apple HEVC (RTVC)",
       kCMVideoCodecType_HEVC,
       true,
       true,
       8192,
       4352,
       {kVTCompressionPropertyKey_H264EntropyMode, kVTCompressionPropertyKey_MaxH264SliceBytes,
        kVTCompressionPropertyKey_PrioritizeEncodingSpeedOverQuality,
        kVTCompressionPropertyKey_SpatialAdaptiveQPLevel, kVTCompressionPropertyKey_VariableBitRate,
        kVTCompressionPropertyKey_MaxAllowedFrameQP}},
      {"com.apple.videotoolbox.videoencoder.h264",
       "Apple H.264 (SW)",
       kCMVideoCodecType_H264,
       false,
       false,
       4096,
       2304,
       {kVTCompressionPropertyKey_AllowOpenGOP}},
      {"com.apple.videotoolbox.videoencoder.hevc.vcp",
       "Apple HEVC (SW)",
       kCMVideoCodecType_HEVC,
       false,
       false,
       8192,
       4352,
       {kVTCompressionPropertyKey_H264EntropyMode, kVTCompressionPropertyKey_MaxH264SliceBytes}},
  };
  return *catalog;
}

EncoderChoice ChooseEncoder(int32_t width, int32_t height, CMVideoCodecType codec,
                            CFDictionaryRef specification, const SessionPlan &plan) {
  const bool low_latency =
      IsTrue(specification, kVTVideoEncoderSpecification_EnableLowLatencyRateControl);
  const bool require_hardware =
      IsTrue(specification, kVTVideoEncoderSpecification_RequireHardwareAcceleratedVideoEncoder);
  const auto *id =
      specification == nullptr
          ? nullptr
          : As<__CFString>(specification->Find(kVTVideoEncoderSpecification_EncoderID));
  if (low_latency && plan.no_llrc != noErr) {
    return {nullptr, plan.no_llrc};
  }
  if (low_latency && plan.macos < (codec == kCMVideoCodecType_HEVC ? 14 : 12)) {
    return {nullptr, kVTCouldNotFindVideoEncoderErr};
  }
  for (const EncoderEntry &entry : EncoderCatalog()) {
    const bool allowed = entry.hardware ? !plan.no_hardware : !require_hardware;
    const bool wanted = id != nullptr ? id->view() == entry.id : entry.low_latency == low_latency;
    const int max_width = plan.max_width > 0 ? plan.max_width : entry.max_width;
    const int max_height = plan.max_height > 0 ? plan.max_height : entry.max_height;
    if (entry.codec == codec && allowed && wanted && width <= max_width && height <= max_height) {
      return {&entry, noErr};
    }
  }
  return {nullptr, kVTCouldNotFindVideoEncoderErr};
}

}  // namespace vt_shim

static vt_shim::Ref<__CFString> Text(const char *text) {
  return vt_shim::Ref<__CFString>::Adopt(vt_shim::NewString(text));
}

OSStatus VTCopyVideoEncoderList(CFDictionaryRef, CFArrayRef *encoders) {
  if (encoders == nullptr) {
    return kVTParameterErr;
  }
  const auto plan = vt_shim::CurrentSessionPlan();
  auto *list = new __CFArray(false);
  for (const auto &entry : vt_shim::EncoderCatalog()) {
    if (entry.hardware && plan.no_hardware) {
      continue;
    }
    auto encoder = vt_shim::Ref<__CFDictionary>::Adopt(new __CFDictionary(true));
    const auto codec = vt_shim::Ref<__CFNumber>::Adopt(vt_shim::NewNumber(entry.codec));
    encoder->Set(kVTVideoEncoderList_CodecType, codec.get());
    encoder->Set(kVTVideoEncoderList_EncoderID, Text(entry.id).get());
    encoder->Set(kVTVideoEncoderList_EncoderName, Text(entry.name).get());
    encoder->Set(kVTVideoEncoderList_DisplayName, Text(entry.name).get());
    encoder->Set(kVTVideoEncoderList_CodecName,
                 Text(entry.codec == kCMVideoCodecType_H264 ? "H.264" : "HEVC").get());
    if (entry.hardware && !entry.low_latency) {
      encoder->Set(kVTVideoEncoderList_IsHardwareAccelerated, kCFBooleanTrue);
    }
    list->values.push_back(vt_shim::AnyRef::Adopt(encoder.Give()));
  }
  *encoders = list;
  return noErr;
}

OSStatus VTCopySupportedPropertyDictionaryForEncoder(int32_t width, int32_t height,
                                                     CMVideoCodecType codec,
                                                     CFDictionaryRef encoder_specification,
                                                     CFStringRef *encoder_id,
                                                     CFDictionaryRef *supported_properties) {
  const auto plan = vt_shim::CurrentSessionPlan();
  const auto choice = vt_shim::ChooseEncoder(width, height, codec, encoder_specification, plan);
  if (choice.entry == nullptr) {
    return choice.status;
  }
  if (encoder_id != nullptr) {
    *encoder_id = vt_shim::NewString(choice.entry->id);
  }
  if (supported_properties != nullptr) {
    *supported_properties = vt_shim::DescribeProperties(*choice.entry, plan).Give();
  }
  return noErr;
}
