// Behaviour 12: the shapes of samples. Every stream is decoded.
#include "fixture.h"

namespace self_test {

// The first output, a key frame, of ten frames of which the seventh is another.
static Output EncodeTen(const char *script, Codec codec = Codec::kH264) {
  vt_shim_set_script(script);
  Session session({.codec = codec});
  if (codec == Codec::kH264) {
    session.Set(kVTCompressionPropertyKey_ProfileLevel, kVTProfileLevel_H264_High_AutoLevel);
  }
  session.EncodeAll(10, 6);
  const auto outputs = session.Outputs();
  EXPECT_EQ(outputs.size(), 10);
  for (int frame = 0; frame < 10; ++frame) {
    const Output &output = outputs[static_cast<size_t>(frame)];
    EXPECT_EQ(output.frame, frame);
    EXPECT_EQ(output.packet.key, frame == 0 || frame == 6);
    EXPECT_EQ(output.valid_dts, outputs[0].valid_dts);
  }
  EXPECT_EQ(session.Decoded(), 10);
  return outputs[0];
}

TEST(h264_samples) {
  const Output output = EncodeTen("");
  EXPECT_EQ(output.nal_length_size, 4);
  EXPECT_EQ(output.parameter_sets.size(), 2);
  EXPECT(output.contiguous && !output.valid_dts);
  EXPECT_EQ(output.packet.bytes[4] & 0x1f, 7);
  EXPECT_EQ(output.packet.bytes[5], 100);  // profile_idc of High
}

TEST(shapes_of_samples) {
  EXPECT_EQ(EncodeTen("extra-sets:3").parameter_sets.size(), 5);
  EXPECT_EQ(EncodeTen("", Codec::kHevc).parameter_sets.size(), 3);
  EXPECT_EQ(EncodeTen("extra-sets:2;split:5", Codec::kHevc).parameter_sets.size(), 5);
  EXPECT(!EncodeTen("split:3").contiguous);
  EXPECT_EQ(EncodeTen("nal-length:2").nal_length_size, 2);
  EXPECT(EncodeTen("dts:valid").valid_dts);
  for (const char *script : {"notsync:absent", "notsync:false", "notsync:no-array"}) {
    EncodeTen(script);
  }
}

// NotSync of the key frame: 0 without an array, 1 without the key, 2 when it is false.
TEST(key_frames_are_marked_in_three_ways) {
  static int seen;
  const auto callback = [](void *, void *, OSStatus, VTEncodeInfoFlags, CMSampleBufferRef sample) {
    const CFArrayRef array = CMSampleBufferGetSampleAttachmentsArray(sample, false);
    const CFTypeRef value =
        array == nullptr
            ? nullptr
            : CFDictionaryGetValue(static_cast<CFDictionaryRef>(CFArrayGetValueAtIndex(array, 0)),
                                   kCMSampleAttachmentKey_NotSync);
    seen = array == nullptr ? 0 : value == nullptr ? 1 : value == kCFBooleanFalse ? 2 : 3;
  };
  const std::pair<const char *, int> kinds[] = {
      {"notsync:no-array", 0}, {"notsync:absent", 1}, {"notsync:false", 2}};
  for (const auto &[script, expected] : kinds) {
    vt_shim_set_script(script);
    CfRef<VTCompressionSessionRef> session;
    EXPECT_EQ(Create({}, callback, nullptr, &session), noErr);
    const auto buffer = NewBuffer(kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange);
    VTCompressionSessionEncodeFrame(session.get(), buffer.get(), kCMTimeZero, kCMTimeInvalid,
                                    nullptr, nullptr, nullptr);
    EXPECT_EQ(VTCompressionSessionCompleteFrames(session.get(), kCMTimeInvalid), noErr);
    EXPECT_EQ(seen, expected);
  }
}

TEST(bit_rate_changes_in_midstream) {
  for (const Codec codec : {Codec::kH264, Codec::kHevc}) {
    Session session({.codec = codec});
    session.Set(kVTCompressionPropertyKey_AverageBitRate, Number(int32_t{2000000}).get());
    session.EncodeAll(3);
    session.Set(kVTCompressionPropertyKey_AverageBitRate, Number(int32_t{500000}).get());
    for (int frame = 3; frame < 6; ++frame) EXPECT_EQ(session.Encode(frame), noErr);
    EXPECT_EQ(session.Complete(), noErr);
    EXPECT_EQ(session.Decoded(), 6);
  }
}

TEST(data_rate_limits_drop_with_low_latency) {
  Session session({.low_latency = true});
  session.Set(kVTCompressionPropertyKey_DataRateLimits, Array({}).get());
  session.EncodeAll(10);
  EXPECT_EQ(Counters().frames_dropped, 2);
}

TEST(one_reference_buffer_makes_every_frame_a_key_frame) {
  Session session;
  session.Set(kVTCompressionPropertyKey_ReferenceBufferCount, Number(int32_t{1}).get());
  session.EncodeAll(5);
  EXPECT_EQ(Counters().key_frames, 5);
}

// Of samples with one NAL unit: how many bytes it has more than its length states.
static void Measure(void *differences, void *, OSStatus, VTEncodeInfoFlags,
                    CMSampleBufferRef sample) {
  const CMBlockBufferRef data = CMSampleBufferGetDataBuffer(sample);
  uint8_t head[4];
  EXPECT_EQ(CMBlockBufferCopyDataBytes(data, 0, sizeof head, head), noErr);
  EXPECT_EQ(CMBlockBufferCopyDataBytes(data, 1, CMBlockBufferGetDataLength(data), head),
            kCMBlockBufferBadLengthParameterErr);
  int64_t stated = 0;
  for (const uint8_t byte : head) stated = stated << 8 | byte;
  static_cast<std::vector<int64_t> *>(differences)
      ->push_back(static_cast<int64_t>(CMBlockBufferGetDataLength(data) - sizeof head) - stated);
}

TEST(malformed_samples) {
  vt_shim_set_script("malformed:2");
  std::vector<int64_t> differences;
  CfRef<VTCompressionSessionRef> session;
  EXPECT_EQ(Create({}, Measure, &differences, &session), noErr);
  VTSessionSetProperty(session.get(), kVTCompressionPropertyKey_AllowFrameReordering,
                       kCFBooleanFalse);
  const auto buffer = NewBuffer(kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange);
  for (int frame = 0; frame < 3; ++frame) {
    EXPECT_EQ(VTCompressionSessionEncodeFrame(session.get(), buffer.get(), CMTimeMake(frame, 30),
                                              kCMTimeInvalid, nullptr, nullptr, nullptr),
              noErr);
  }
  EXPECT_EQ(VTCompressionSessionCompleteFrames(session.get(), kCMTimeInvalid), noErr);
  EXPECT_EQ(differences.size(), 3);
  EXPECT_EQ(differences[1], -1);
  EXPECT_EQ(differences[2], 0);
}

}  // namespace self_test
