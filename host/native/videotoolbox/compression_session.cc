#include "compression_session.h"

#include "../media/picture/convert.h"
#include "colour.h"
#include "properties.h"
#include "status.h"

namespace vsockenc::vt {
namespace {

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

CfRef<CFDictionaryRef> Specification(Rung rung) {
  if (rung == Rung::kHardware) {
    return Dictionary(
        {{kVTVideoEncoderSpecification_RequireHardwareAcceleratedVideoEncoder, kCFBooleanTrue}});
  }
  return Dictionary({
      {kVTVideoEncoderSpecification_RequireHardwareAcceleratedVideoEncoder, kCFBooleanTrue},
      {kVTVideoEncoderSpecification_EnableLowLatencyRateControl, kCFBooleanTrue},
  });
}

// Attributes of the session's pool: the encoder's own input format, in memory shared with its
// process.
CfRef<CFDictionaryRef> SourceAttributes(const Settings &settings) {
  const auto format = static_cast<int32_t>(EncodedFormat(settings));
  return Dictionary({
      {kCVPixelBufferPixelFormatTypeKey, Number(format).get()},
      {kCVPixelBufferWidthKey, Number(int32_t{RoundUpToEven(settings.width)}).get()},
      {kCVPixelBufferHeightKey, Number(int32_t{RoundUpToEven(settings.height)}).get()},
      {kCVPixelBufferIOSurfacePropertiesKey, Dictionary({}).get()},
  });
}

CfRef<CFTypeRef> Property(VTCompressionSessionRef session, CFStringRef key) {
  CfRef<CFTypeRef> value;
  // An error, and noErr with NULL, mean that the encoder does not report it.
  if (VTSessionCopyProperty(session, key, kCFAllocatorDefault, value.Out()) != noErr) return {};
  return value;
}

}  // namespace

CompressionSession::CompressionSession(const Settings &settings, Rung rung, Outputs &outputs)
    : rung_(rung), framerate_(settings.framerate) {
  Create(settings, outputs);
  try {
    Identify();
    PropertyResult result = SetProperties(session_.get(), settings, rung);
    report_.refused = std::move(result.refused);
    drains_ = result.holds_frames;
    const OSStatus status = VTCompressionSessionPrepareToEncodeFrames(session_.get());
    if (status != noErr) throw VideoToolboxError(status, "preparing to encode");
  } catch (...) {
    VTCompressionSessionInvalidate(session_.get());
    throw;
  }
}

CompressionSession::~CompressionSession() {
  VTCompressionSessionInvalidate(session_.get());
}

void CompressionSession::Create(const Settings &settings, Outputs &outputs) {
  const CMVideoCodecType codec =
      settings.codec == Codec::kH264 ? kCMVideoCodecType_H264 : kCMVideoCodecType_HEVC;
  const OSStatus status = VTCompressionSessionCreate(
      kCFAllocatorDefault, RoundUpToEven(settings.width), RoundUpToEven(settings.height), codec,
      Specification(rung_).get(), SourceAttributes(settings).get(), kCFAllocatorDefault, Output,
      &outputs, session_.Out());
  if (status != noErr) throw VideoToolboxError(status, "creating a session");
}

void CompressionSession::Identify() {
  report_.encoder_id = Text(Property(session_.get(), kVTCompressionPropertyKey_EncoderID).get());
  const CfRef<CFTypeRef> hardware =
      Property(session_.get(), kVTCompressionPropertyKey_UsingHardwareAcceleratedVideoEncoder);
  if (!hardware || CFGetTypeID(hardware.get()) != CFBooleanGetTypeID()) return;
  report_.hardware = CFBooleanGetValue(static_cast<CFBooleanRef>(hardware.get()));
  if (!*report_.hardware) {
    throw VideoToolboxError(kVTCouldNotFindVideoEncoderErr,
                            "VideoToolbox chose the software encoder " + report_.encoder_id);
  }
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

OSStatus CompressionSession::SetRates(const Rates &rates) {
  return SetRateProperties(session_.get(), rates, rung_);
}

}  // namespace vsockenc::vt
