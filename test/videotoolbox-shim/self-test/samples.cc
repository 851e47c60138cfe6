// Behaviour 12: what a sample looks like. Every stream is decoded.
#include <set>

#include "fixture.h"
#include "harness.h"
#include "vt_shim.h"

using self_test::DecodedPictures;
using self_test::Options;
using self_test::Output;
using self_test::Session;
using self_test::Set;

static std::vector<Output> EncodeTen(const std::string &script, Options options = {}) {
  vt_shim_set_script(script.c_str());
  Session session(options);
  if (options.codec == kCMVideoCodecType_H264) {
    Set(session.ref, kVTCompressionPropertyKey_ProfileLevel, kVTProfileLevel_H264_High_AutoLevel);
  }
  for (int frame = 0; frame < 10; ++frame) {
    EXPECT_EQ(session.Encode(frame, frame == 6), noErr);
  }
  EXPECT_EQ(session.Complete(), noErr);
  const auto outputs = session.Outputs();
  EXPECT_EQ(outputs.size(), 10);
  for (int frame = 0; frame < 10; ++frame) {
    const Output &output = outputs[static_cast<size_t>(frame)];
    EXPECT_EQ(output.frame, frame);
    EXPECT_EQ(output.key, frame == 0 || frame == 6);
  }
  EXPECT_EQ(DecodedPictures(options.codec, outputs), 10);
  return outputs;
}

// Each has an id of its own.
static void ExpectDistinct(const std::vector<std::vector<uint8_t>> &sets, size_t count) {
  EXPECT_EQ(sets.size(), count);
  EXPECT_EQ(std::set(sets.begin(), sets.end()).size(), count);
}

TEST(h264_samples) {
  const auto outputs = EncodeTen("");
  EXPECT_EQ(outputs[0].nal_length_size, 4);
  EXPECT_EQ(outputs[0].parameter_sets.size(), 2);
  EXPECT(outputs[0].contiguous && !outputs[0].valid_dts);
  EXPECT_EQ(outputs[0].annex_b[4] & 0x1f, 7);
  EXPECT_EQ(outputs[0].annex_b[5], 100);  // profile_idc of High
  EXPECT(outputs[1].annex_b.size() > 5 && (outputs[1].annex_b[4] & 0x1f) == 1);
}

TEST(hevc_samples) {
  Options options;
  options.codec = kCMVideoCodecType_HEVC;
  EXPECT_EQ(EncodeTen("", options)[0].parameter_sets.size(), 3);
  ExpectDistinct(EncodeTen("extra-sets:2;split:5", options)[0].parameter_sets, 5);
}

TEST(more_parameter_sets) {
  ExpectDistinct(EncodeTen("extra-sets:3")[0].parameter_sets, 5);
}

TEST(split_block_buffers) {
  EXPECT(!EncodeTen("split:3")[0].contiguous);
}

TEST(short_lengths) {
  EXPECT_EQ(EncodeTen("nal-length:2")[0].nal_length_size, 2);
}

TEST(key_frames_are_told_in_three_ways) {
  EncodeTen("notsync:absent");
  EncodeTen("notsync:false");
  EncodeTen("notsync:no-array");
}

TEST(valid_decode_times) {
  EXPECT(EncodeTen("dts:valid")[9].valid_dts);
}

TEST(data_pointer_ends_with_its_piece) {
  vt_shim_set_script("split:7");
  static size_t lengths[2];
  VTCompressionSessionRef session = nullptr;
  const auto callback = [](void *, void *, OSStatus, VTEncodeInfoFlags, CMSampleBufferRef sample) {
    char *bytes = nullptr;
    CMBlockBufferRef data = CMSampleBufferGetDataBuffer(sample);
    EXPECT_EQ(CMBlockBufferGetDataPointer(data, 4, &lengths[0], &lengths[1], &bytes), 0);
    EXPECT_EQ(CMBlockBufferGetDataPointer(data, lengths[1], nullptr, nullptr, &bytes),
              kCMBlockBufferBadOffsetParameterErr);
    EXPECT_EQ(CMBlockBufferCopyDataBytes(data, 1, lengths[1], bytes),
              kCMBlockBufferBadLengthParameterErr);
  };
  EXPECT_EQ(self_test::CreateSession({}, callback, nullptr, &session), noErr);
  CVPixelBufferRef buffer =
      self_test::NewBuffer(kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange, 64, 48);
  VTCompressionSessionEncodeFrame(session, buffer, kCMTimeZero, kCMTimeInvalid, nullptr, nullptr,
                                  nullptr);
  EXPECT_EQ(VTCompressionSessionCompleteFrames(session, kCMTimeInvalid), noErr);
  EXPECT_EQ(lengths[0], 3);
  EXPECT(lengths[1] > 7);
  VTCompressionSessionInvalidate(session);
  CFRelease(session);
  CVPixelBufferRelease(buffer);
}

TEST(bit_rate_changes_in_midstream) {
  for (const CMVideoCodecType codec : {kCMVideoCodecType_H264, kCMVideoCodecType_HEVC}) {
    Options options;
    options.codec = codec;
    Session session(options);
    Set(session.ref, kVTCompressionPropertyKey_AverageBitRate, 2000000);
    for (int frame = 0; frame < 6; ++frame) {
      if (frame == 3) {
        EXPECT_EQ(session.Complete(), noErr);
        Set(session.ref, kVTCompressionPropertyKey_AverageBitRate, 500000);
      }
      EXPECT_EQ(session.Encode(frame), noErr);
    }
    EXPECT_EQ(session.Complete(), noErr);
    EXPECT_EQ(DecodedPictures(codec, session.Outputs()), 6);
  }
}

TEST(data_rate_limits_drop_with_low_latency) {
  Options options;
  options.low_latency = true;
  Session session(options);
  CFArrayRef limits = CFArrayCreate(nullptr, nullptr, 0, &kCFTypeArrayCallBacks);
  Set(session.ref, kVTCompressionPropertyKey_DataRateLimits, limits);
  CFRelease(limits);
  for (int frame = 0; frame < 10; ++frame) {
    session.Encode(frame);
  }
  EXPECT_EQ(session.Complete(), noErr);
  vt_shim_counters counters;
  vt_shim_get_counters(&counters);
  EXPECT_EQ(counters.frames_dropped, 2);
}

TEST(one_reference_buffer_makes_every_frame_a_key_frame) {
  Session session;
  Set(session.ref, kVTCompressionPropertyKey_ReferenceBufferCount, 1);
  for (int frame = 0; frame < 5; ++frame) {
    session.Encode(frame);
  }
  EXPECT_EQ(session.Complete(), noErr);
  vt_shim_counters counters;
  vt_shim_get_counters(&counters);
  EXPECT_EQ(counters.key_frames, 5);
}

// Bytes in a sample that has one NAL unit, and those that its length tells of.
static void Measure(void *sizes, void *, OSStatus status, VTEncodeInfoFlags,
                    CMSampleBufferRef sample) {
  EXPECT_EQ(status, noErr);
  CMBlockBufferRef data = CMSampleBufferGetDataBuffer(sample);
  uint8_t length[4];
  EXPECT_EQ(CMBlockBufferCopyDataBytes(data, 0, sizeof length, length), noErr);
  size_t told = 0;
  for (const uint8_t byte : length) {
    told = told << 8 | byte;
  }
  static_cast<std::vector<std::pair<size_t, size_t>> *>(sizes)->emplace_back(
      CMBlockBufferGetDataLength(data) - sizeof length, told);
}

TEST(malformed_samples) {
  vt_shim_set_script("malformed:2");
  std::vector<std::pair<size_t, size_t>> sizes;
  VTCompressionSessionRef session = nullptr;
  EXPECT_EQ(self_test::CreateSession({}, Measure, &sizes, &session), noErr);
  Set(session, kVTCompressionPropertyKey_AllowFrameReordering, kCFBooleanFalse);
  CVPixelBufferRef buffer =
      self_test::NewBuffer(kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange, 64, 48);
  for (int frame = 0; frame < 3; ++frame) {
    EXPECT_EQ(VTCompressionSessionEncodeFrame(session, buffer, CMTimeMake(frame, 30),
                                              kCMTimeInvalid, nullptr, nullptr, nullptr),
              noErr);
  }
  EXPECT_EQ(VTCompressionSessionCompleteFrames(session, kCMTimeInvalid), noErr);
  EXPECT_EQ(sizes.size(), 3);
  EXPECT_EQ(sizes[1].first + 1, sizes[1].second);
  EXPECT_EQ(sizes[2].first, sizes[2].second);
  VTCompressionSessionInvalidate(session);
  CFRelease(session);
  CVPixelBufferRelease(buffer);
}
