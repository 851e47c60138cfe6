#include "fixture.h"

#include <unistd.h>

#include "access_unit.h"

namespace self_test {

OSStatus Create(const Options &options, VTCompressionOutputCallback callback, void *refcon,
                CfRef<VTCompressionSessionRef> *session) {
  const auto specification = Dictionary({
      {kVTVideoEncoderSpecification_RequireHardwareAcceleratedVideoEncoder,
       Bool(options.require_hardware)},
      {kVTVideoEncoderSpecification_EnableLowLatencyRateControl, Bool(options.low_latency)},
  });
  const CMVideoCodecType codec =
      options.codec == Codec::kH264 ? kCMVideoCodecType_H264 : kCMVideoCodecType_HEVC;
  return VTCompressionSessionCreate(nullptr, options.width, kHeight, codec, specification.get(),
                                    nullptr, nullptr, callback, refcon, session->Out());
}

OSStatus CreateOnly(const Options &options, CfRef<VTCompressionSessionRef> *session) {
  return Create(
      options, [](void *, void *, OSStatus, VTEncodeInfoFlags, CMSampleBufferRef) {}, nullptr,
      session);
}

Session::Session(const Options &options) : codec_(options.codec) {
  EXPECT_EQ(Create(options, Callback, this, &ref_), noErr);
  if (!options.reordering) Set(kVTCompressionPropertyKey_AllowFrameReordering, kCFBooleanFalse);
  EXPECT_EQ(VTCompressionSessionPrepareToEncodeFrames(get()), noErr);
}

Session::~Session() {
  VTCompressionSessionInvalidate(get());
}

Output Session::OutputOf(CMSampleBufferRef sample) const {
  Output output{};
  output.has_sample = true;
  auto unit = ToAnnexB(sample, codec_, VuiOf(Small()));
  output.packet = {std::move(unit.bytes), unit.key};
  output.contiguous = CMBlockBufferIsRangeContiguous(CMSampleBufferGetDataBuffer(sample), 0, 0);
  output.valid_dts = CMTIME_IS_VALID(CMSampleBufferGetDecodeTimeStamp(sample));
  const auto get = codec_ == Codec::kH264 ? CMVideoFormatDescriptionGetH264ParameterSetAtIndex
                                          : CMVideoFormatDescriptionGetHEVCParameterSetAtIndex;
  size_t count = 1;
  for (size_t index = 0; index < count; ++index) {
    const uint8_t *set = nullptr;
    size_t size = 0;
    EXPECT_EQ(get(CMSampleBufferGetFormatDescription(sample), index, &set, &size, &count,
                  &output.nal_length_size),
              noErr);
    output.parameter_sets.emplace(set, set + size);
  }
  EXPECT_EQ(output.parameter_sets.size(), count);  // each has an id of its own
  return output;
}

void Session::Callback(void *self, void *frame, OSStatus status, VTEncodeInfoFlags flags,
                       CMSampleBufferRef sample) {
  auto *session = static_cast<Session *>(self);
  Output output = sample == nullptr ? Output{} : session->OutputOf(sample);
  output.frame = static_cast<int>(reinterpret_cast<intptr_t>(frame));
  output.status = status;
  output.flags = flags;
  output.submitted = Counters().frames_submitted;
  output.thread = std::this_thread::get_id();
  {
    std::lock_guard lock(session->mutex_);
    session->outputs_.push_back(std::move(output));
  }
  session->changed_.notify_all();
  if (session->in_callback) session->in_callback();
}

void Session::Set(CFStringRef key, CFTypeRef value, OSStatus expected) {
  EXPECT_EQ(VTSessionSetProperty(get(), key, value), expected);
}

CfRef<CVPixelBufferRef> Session::NewPicture(int number) {
  CfRef<CVPixelBufferRef> buffer;
  EXPECT_EQ(CVPixelBufferPoolCreatePixelBuffer(
                nullptr, VTCompressionSessionGetPixelBufferPool(get()), buffer.Out()),
            kCVReturnSuccess);
  Paint(buffer.get(), number);
  return buffer;
}

OSStatus Session::Encode(int number, bool key) {
  return Encode(NewPicture(number).get(), number, key);
}

OSStatus Session::Encode(CVPixelBufferRef buffer, int number, bool key) {
  const auto options = Dictionary({{kVTEncodeFrameOptionKey_ForceKeyFrame, Bool(key)}});
  return VTCompressionSessionEncodeFrame(
      get(), buffer, CMTimeMake(number, 30), CMTimeMake(1, 30), options.get(),
      reinterpret_cast<void *>(static_cast<intptr_t>(number)), nullptr);
}

void Session::EncodeAll(int count, int key) {
  for (int frame = 0; frame < count; ++frame) EXPECT_EQ(Encode(frame, frame == key), noErr);
  EXPECT_EQ(Complete(), noErr);
}

std::vector<Output> Session::Outputs() {
  std::lock_guard lock(mutex_);
  return outputs_;
}

void Session::WaitForOutputs(size_t count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return outputs_.size() >= count; });
}

size_t Session::Decoded() {
  std::map<uint32_t, Packet> packets;
  for (Output &output : Outputs()) {
    const auto number = static_cast<uint32_t>(packets.size());
    if (output.has_sample) packets[number] = std::move(output.packet);
  }
  return Decode(codec_, packets).size();
}

CfRef<CVPixelBufferRef> NewBuffer(OSType format, int width, int height) {
  CfRef<CVPixelBufferRef> buffer;
  EXPECT_EQ(CVPixelBufferCreate(nullptr, static_cast<size_t>(width), static_cast<size_t>(height),
                                format, nullptr, buffer.Out()),
            kCVReturnSuccess);
  return buffer;
}

void Paint(CVPixelBufferRef buffer, int number) {
  EXPECT_EQ(CVPixelBufferLockBaseAddress(buffer, 0), kCVReturnSuccess);
  auto *luma = static_cast<uint8_t *>(CVPixelBufferGetBaseAddressOfPlane(buffer, 0));
  const size_t stride = CVPixelBufferGetBytesPerRowOfPlane(buffer, 0);
  for (size_t row = 0; row < CVPixelBufferGetHeight(buffer); ++row) {
    for (size_t column = 0; column < CVPixelBufferGetWidth(buffer); ++column) {
      luma[row * stride + column] =
          static_cast<uint8_t>(row * 3 + column * 5 + static_cast<size_t>(number) * 7);
    }
  }
  EXPECT_EQ(CVPixelBufferUnlockBaseAddress(buffer, 0), kCVReturnSuccess);
}

void WaitForTheEnd() {
  for (;;) pause();
}

}  // namespace self_test
