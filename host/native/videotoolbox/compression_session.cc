#include "compression_session.h"

#include <dlfcn.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "../media/picture/convert.h"
#include "pixel_buffer.h"
#include "status.h"

namespace vsockenc::vt {
namespace {

// Frames: the encoder never inserts a key frame by itself. See Keyframes.
constexpr int32_t kEndlessGop = std::numeric_limits<int32_t>::max();
constexpr double kEndlessGopSeconds = 7200;

const char *Name(Rung rung) {
  return rung == Rung::kLowLatency ? "low-latency rate control" : "hardware encoder";
}

// VideoToolbox returns the ticket as the frame's reference. It is a number, not an address: an
// output may come for a refused frame until the session ends, so memory could not be freed before
// that.
void *AsReference(uint64_t ticket) {
  return reinterpret_cast<void *>(static_cast<uintptr_t>(ticket));
}

void Output(void *outputs, void *ticket, OSStatus status, VTEncodeInfoFlags flags,
            CMSampleBufferRef sample) {
  static_cast<Outputs *>(outputs)->OnOutput(reinterpret_cast<uintptr_t>(ticket), status, flags,
                                            sample);
}

CfRef<VTCompressionSessionRef> Create(const Settings &settings, Rung rung, Outputs &outputs) {
  const auto specification = Dictionary({
      {kVTVideoEncoderSpecification_RequireHardwareAcceleratedVideoEncoder, kCFBooleanTrue},
      {kVTVideoEncoderSpecification_EnableLowLatencyRateControl,
       rung == Rung::kLowLatency ? kCFBooleanTrue : nullptr},
  });
  const int width = RoundUpToEven(settings.width);
  const int height = RoundUpToEven(settings.height);
  const CMVideoCodecType codec =
      settings.codec == Codec::kH264 ? kCMVideoCodecType_H264 : kCMVideoCodecType_HEVC;
  CfRef<VTCompressionSessionRef> session;
  Require(VTCompressionSessionCreate(kCFAllocatorDefault, width, height, codec, specification.get(),
                                     BufferAttributes(EncodedFormat(settings), width, height).get(),
                                     kCFAllocatorDefault, Output, &outputs, session.Out()),
          "creating a session");
  return session;
}

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

// The object is complete once it has its session, so an error here runs the destructor.
CompressionSession::CompressionSession(const Settings &settings, Rung rung, Outputs &outputs)
    : CompressionSession(Create(settings, rung, outputs), rung, settings.framerate) {
  Identify();
  SetProperties(settings);
  Require(VTCompressionSessionPrepareToEncodeFrames(session_.get()), "preparing to encode");
}

CompressionSession::~CompressionSession() {
  VTCompressionSessionInvalidate(session_.get());
}

// Empty if the encoder does not report it: an error, or noErr with NULL.
CfRef<CFTypeRef> CompressionSession::Property(CFStringRef key) const {
  CfRef<CFTypeRef> value;
  if (VTSessionCopyProperty(session_.get(), key, kCFAllocatorDefault, value.Out()) != noErr) {
    return {};
  }
  return value;
}

void CompressionSession::Identify() {
  encoder_id_ = Text(Property(kVTCompressionPropertyKey_EncoderID).get());
  const auto hardware = Property(kVTCompressionPropertyKey_UsingHardwareAcceleratedVideoEncoder);
  if (!hardware || CFGetTypeID(hardware.get()) != CFBooleanGetTypeID()) return;
  hardware_ = CFBooleanGetValue(static_cast<CFBooleanRef>(hardware.get()));
  if (!*hardware_) {
    throw VideoToolboxError(kVTCouldNotFindVideoEncoderErr,
                            "VideoToolbox chose the software encoder " + encoder_id_);
  }
}

// False when the encoder refuses it. A NULL value is skipped.
bool CompressionSession::Set(CFStringRef key, CFTypeRef value, bool required) {
  if (value == nullptr) return true;
  const OSStatus status = VTSessionSetProperty(session_.get(), key, value);
  if (status == noErr) return true;
  if (required) throw VideoToolboxError(status, Text(key) + " = " + Text(value));
  if (status == kVTInvalidSessionErr) throw VideoToolboxError(status, Text(key));
  refused_.push_back(Text(key) + ": " + Words(status));
  return false;
}

// In the order that encoders need.
void CompressionSession::SetProperties(const Settings &settings) {
  const bool hevc = settings.codec == Codec::kHevc;
  const bool low_latency = rung_ == Rung::kLowLatency;
  const auto frames_per_second =
      Number(static_cast<double>(framerate_.numerator) / framerate_.denominator);

  // High is the encoder's default.
  const bool profile_required = !hevc && settings.profile != Profile::kHigh;
  Set(kVTCompressionPropertyKey_ProfileLevel, ProfileLevel(settings), profile_required);
  Set(kVTCompressionPropertyKey_RealTime, Bool(true));
  Set(kVTCompressionPropertyKey_AllowFrameReordering, Bool(false));
  if (hevc) Set(kVTCompressionPropertyKey_AllowOpenGOP, Bool(false));

  Set(kVTCompressionPropertyKey_MaxKeyFrameInterval, Number(kEndlessGop).get());
  if (!hevc) {
    Set(kVTCompressionPropertyKey_MaxKeyFrameIntervalDuration, Number(kEndlessGopSeconds).get());
  }
  // By its contract, low-latency rate control outputs each frame before it takes the next.
  drains_ =
      !Set(kVTCompressionPropertyKey_MaxFrameDelayCount, Number(int32_t{0}).get()) && !low_latency;

  Set(kVTCompressionPropertyKey_ExpectedFrameRate, frames_per_second.get());
  // From macOS 15 on. Prepares the encoder for that rate.
  Set(NewerKey("kVTCompressionPropertyKey_MaximumRealTimeFrameRate",
               CFSTR("MaximumRealTimeFrameRate")),
      frames_per_second.get());
  Set(kVTCompressionPropertyKey_AverageBitRate, AverageRate(settings.rates).get());
  if (!low_latency) {
    Set(kVTCompressionPropertyKey_DataRateLimits, RateLimit(settings.rates).get());
  }
  Set(kVTCompressionPropertyKey_PrioritizeEncodingSpeedOverQuality, Bool(true));

  const ColourNames colour = NamesOf(settings.colour);
  Set(kVTCompressionPropertyKey_ColorPrimaries, colour.primaries);
  Set(kVTCompressionPropertyKey_TransferFunction, colour.transfer);
  Set(kVTCompressionPropertyKey_YCbCrMatrix, colour.matrix);
}

OSStatus CompressionSession::SetRates(const Rates &rates) {
  const OSStatus status = VTSessionSetProperty(
      session_.get(), kVTCompressionPropertyKey_AverageBitRate, AverageRate(rates).get());
  if (status != noErr || rung_ == Rung::kLowLatency) return status;
  const OSStatus limited = VTSessionSetProperty(
      session_.get(), kVTCompressionPropertyKey_DataRateLimits, RateLimit(rates).get());
  return limited == kVTPropertyNotSupportedErr ? OSStatus{noErr} : limited;
}

OSStatus CompressionSession::Encode(CVPixelBufferRef buffer, int64_t tick, bool key,
                                    uint64_t ticket) {
  const CMTime duration = CMTimeMake(framerate_.denominator, framerate_.numerator);
  const CMTime time = CMTimeMake(tick * framerate_.denominator, framerate_.numerator);
  CfRef<CFDictionaryRef> options;
  if (key) options = Dictionary({{kVTEncodeFrameOptionKey_ForceKeyFrame, kCFBooleanTrue}});
  const OSStatus status = VTCompressionSessionEncodeFrame(
      session_.get(), buffer, time, duration, options.get(), AsReference(ticket), nullptr);
  if (status == noErr && drains_) return VTCompressionSessionCompleteFrames(session_.get(), time);
  return status;
}

std::string CompressionSession::Describe() const {
  std::string text = Name(rung_);
  text += ", encoder " + (encoder_id_.empty() ? "unnamed" : encoder_id_);
  text += hardware_ ? ", hardware" : ", hardware not reported";
  // Only this ending identifies low-latency encoders.
  if (rung_ == Rung::kLowLatency && !encoder_id_.ends_with("rtvc")) {
    text += ", low latency not confirmed";
  }
  for (size_t i = 0; i < refused_.size(); ++i) {
    text += (i == 0 ? "; refused: " : ", ") + refused_[i];
  }
  return text;
}

// Of the H.264 profiles, low-latency rate control supports only High.
Ladder::Ladder(const Settings &settings)
    : first_(settings.codec == Codec::kHevc || settings.profile == Profile::kHigh
                 ? Rung::kLowLatency
                 : Rung::kHardware) {}

std::unique_ptr<CompressionSession> Ladder::Climb(const Settings &settings,
                                                  Outputs &outputs) const {
  std::string tried;
  OSStatus status = kVTCouldNotFindVideoEncoderErr;
  for (const Rung rung : {Rung::kLowLatency, Rung::kHardware}) {
    if (rung < first_) continue;
    try {
      return std::make_unique<CompressionSession>(settings, rung, outputs);
    } catch (const VideoToolboxError &error) {
      tried += std::string(tried.empty() ? "" : "; ") + Name(rung) + ": " + error.what();
      // A busy encoder determines the status: waiting for it may help.
      if (RemedyFor(status) != Remedy::kWait) status = error.status();
    }
  }
  throw VideoToolboxError(status, "VideoToolbox has no hardware encoder for this (" + tried + ")");
}

bool Ladder::Leave(Rung rung) {
  if (rung == Rung::kHardware) return false;
  first_ = Rung::kHardware;
  return true;
}

}  // namespace vsockenc::vt
