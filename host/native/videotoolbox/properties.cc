#include "properties.h"

#include <dlfcn.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "cf.h"
#include "colour.h"
#include "status.h"

namespace vsockenc::vt {
namespace {

// Frames: the encoder never inserts a key frame by itself. See Keyframes.
constexpr int32_t kEndlessGop = std::numeric_limits<int32_t>::max();
constexpr double kEndlessGopSeconds = 7200;

CFStringRef ProfileLevel(const Settings &settings) {
  if (settings.codec == Codec::kHevc) return kVTProfileLevel_HEVC_Main_AutoLevel;
  switch (settings.profile) {
    case Profile::kConstrainedBaseline:
      return kVTProfileLevel_H264_ConstrainedBaseline_AutoLevel;
    case Profile::kMain:
      return kVTProfileLevel_H264_Main_AutoLevel;
    case Profile::kHigh:
      return kVTProfileLevel_H264_High_AutoLevel;
  }
  return nullptr;
}

// High is the encoder's default.
bool ProfileIsRequired(const Settings &settings) {
  return settings.codec == Codec::kH264 && settings.profile != Profile::kHigh;
}

class Setter {
 public:
  explicit Setter(VTCompressionSessionRef session) : session_(session) {}

  // False when the encoder refuses it. A NULL value is skipped.
  bool Set(CFStringRef key, CFTypeRef value) {
    if (value == nullptr) return true;
    const OSStatus status = VTSessionSetProperty(session_, key, value);
    if (status == noErr) return true;
    if (status == kVTInvalidSessionErr) throw VideoToolboxError(status, Text(key));
    refused_.push_back(Text(key) + ": " + Words(status));
    return false;
  }
  void Require(CFStringRef key, CFTypeRef value) {
    const OSStatus status = VTSessionSetProperty(session_, key, value);
    if (status != noErr) throw VideoToolboxError(status, Text(key) + " = " + Text(value));
  }
  std::vector<std::string> TakeRefused() { return std::move(refused_); }

 private:
  VTCompressionSessionRef session_;
  std::vector<std::string> refused_;
};

// Bytes and seconds. Low-latency rate control drops frames when this is set (undocumented).
CfRef<CFArrayRef> RateLimit(const Rates &rates) {
  const double seconds =
      static_cast<double>(rates.buffer_bits) / static_cast<double>(rates.peak_bits_per_second);
  return Array({Number(int64_t{rates.buffer_bits / 8}).get(), Number(seconds).get()});
}

CfRef<CFNumberRef> AverageRate(const Rates &rates) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  return Number(static_cast<int32_t>(std::min(rates.bits_per_second, kMost)));
}

// The value of an exported constant that only newer systems have; `fallback` on older ones. The
// value, not the symbol's name, identifies a property.
CFStringRef NewerKey(const char *symbol, CFStringRef fallback) {
  const void *address = dlsym(RTLD_DEFAULT, symbol);
  return address == nullptr ? fallback : *static_cast<const CFStringRef *>(address);
}

}  // namespace

PropertyResult SetProperties(VTCompressionSessionRef session, const Settings &settings, Rung rung) {
  Setter setter(session);
  const bool hevc = settings.codec == Codec::kHevc;
  const double frames_per_second =
      static_cast<double>(settings.framerate.numerator) / settings.framerate.denominator;

  if (ProfileIsRequired(settings)) {
    setter.Require(kVTCompressionPropertyKey_ProfileLevel, ProfileLevel(settings));
  } else {
    setter.Set(kVTCompressionPropertyKey_ProfileLevel, ProfileLevel(settings));
  }
  setter.Set(kVTCompressionPropertyKey_RealTime, Bool(true));
  setter.Set(kVTCompressionPropertyKey_AllowFrameReordering, Bool(false));
  if (hevc) setter.Set(kVTCompressionPropertyKey_AllowOpenGOP, Bool(false));

  setter.Set(kVTCompressionPropertyKey_MaxKeyFrameInterval, Number(kEndlessGop).get());
  if (!hevc) {
    setter.Set(kVTCompressionPropertyKey_MaxKeyFrameIntervalDuration,
               Number(kEndlessGopSeconds).get());
  }
  const bool delay_accepted =
      setter.Set(kVTCompressionPropertyKey_MaxFrameDelayCount, Number(int32_t{0}).get());

  setter.Set(kVTCompressionPropertyKey_ExpectedFrameRate, Number(frames_per_second).get());
  // From macOS 15 on. Prepares the encoder for that rate.
  setter.Set(NewerKey("kVTCompressionPropertyKey_MaximumRealTimeFrameRate",
                      CFSTR("MaximumRealTimeFrameRate")),
             Number(frames_per_second).get());
  setter.Set(kVTCompressionPropertyKey_AverageBitRate, AverageRate(settings.rates).get());
  if (rung == Rung::kHardware) {
    setter.Set(kVTCompressionPropertyKey_DataRateLimits, RateLimit(settings.rates).get());
  }
  setter.Set(kVTCompressionPropertyKey_PrioritizeEncodingSpeedOverQuality, Bool(true));

  const ColourNames colour = NamesOf(settings.colour);
  setter.Set(kVTCompressionPropertyKey_ColorPrimaries, colour.primaries);
  setter.Set(kVTCompressionPropertyKey_TransferFunction, colour.transfer);
  setter.Set(kVTCompressionPropertyKey_YCbCrMatrix, colour.matrix);

  // By its contract, low-latency rate control outputs each frame before it takes the next.
  return {setter.TakeRefused(), !delay_accepted && rung != Rung::kLowLatency};
}

OSStatus SetRateProperties(VTCompressionSessionRef session, const Rates &rates, Rung rung) {
  const OSStatus status = VTSessionSetProperty(session, kVTCompressionPropertyKey_AverageBitRate,
                                               AverageRate(rates).get());
  if (status != noErr || rung == Rung::kLowLatency) return status;
  const OSStatus limited = VTSessionSetProperty(session, kVTCompressionPropertyKey_DataRateLimits,
                                                RateLimit(rates).get());
  return limited == kVTPropertyNotSupportedErr ? OSStatus{noErr} : limited;
}

}  // namespace vsockenc::vt
