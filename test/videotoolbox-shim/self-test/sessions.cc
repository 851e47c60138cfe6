// Behaviours 6 to 11: sessions, their creation, properties, failures and end.
#include "fixture.h"
#include "harness.h"
#include "vt_shim.h"

using self_test::CreateSession;
using self_test::Options;
using self_test::Session;
using self_test::Set;

static void NoOutput(void *, void *, OSStatus, VTEncodeInfoFlags, CMSampleBufferRef) {}

static std::string CopyText(VTSessionRef session, CFStringRef key) {
  CFStringRef text = nullptr;
  EXPECT_EQ(VTSessionCopyProperty(session, key, nullptr, &text), noErr);
  char buffer[128] = "";
  if (text != nullptr) {
    EXPECT(CFStringGetCString(text, buffer, sizeof buffer, kCFStringEncodingUTF8));
    CFRelease(text);
  }
  return buffer;
}

TEST(invalidate_joins_and_ends_everything) {
  vt_shim_set_script("delay:*:20");
  Session session;
  CVPixelBufferRef buffer = session.NewPicture(1);
  EXPECT_EQ(session.Encode(0), noErr);
  VTCompressionSessionInvalidate(session.ref);
  const size_t count = session.OutputCount();
  self_test::SleepMs(60);
  EXPECT_EQ(session.OutputCount(), count);
  EXPECT_EQ(session.Encode(buffer, 1), kVTInvalidSessionErr);
  EXPECT_EQ(session.Complete(), kVTInvalidSessionErr);
  EXPECT_EQ(VTCompressionSessionPrepareToEncodeFrames(session.ref), kVTInvalidSessionErr);
  Set(session.ref, kVTCompressionPropertyKey_RealTime, kCFBooleanTrue, kVTInvalidSessionErr);
  EXPECT(VTCompressionSessionGetPixelBufferPool(session.ref) == nullptr);
  CVPixelBufferRelease(buffer);
}

TEST(invalidate_can_call_back_for_pending_frames) {
  vt_shim_set_script("delay:*:500;invalidate:flush");
  Session session;
  EXPECT_EQ(session.Encode(0), noErr);
  EXPECT_EQ(session.Encode(1), noErr);
  VTCompressionSessionInvalidate(session.ref);
  EXPECT_EQ(session.OutputCount(), 2);
  EXPECT_EQ(session.Outputs()[1].status, kVTInvalidSessionErr);
}

VIOLATION(invalidate_in_the_callback, "waits for itself") {
  Session session;
  session.in_callback = [&] { VTCompressionSessionInvalidate(session.ref); };
  session.Encode(0);
  session.Complete();
}

VIOLATION(invalidate_while_the_callback_needs_a_lock, "a callback does not return") {
  vt_shim_set_script("patience:500");
  Session session;
  std::mutex mutex;
  session.in_callback = [&] { std::lock_guard lock(mutex); };
  std::lock_guard lock(mutex);
  session.Encode(0);
  EXPECT(self_test::Eventually([&] { return session.OutputCount() == 1; }));
  VTCompressionSessionInvalidate(session.ref);
}

TEST(complete_frames_blocks) {
  vt_shim_set_script("delay:*:50");
  Session session;
  for (int frame = 0; frame < 3; ++frame) {
    EXPECT_EQ(session.Encode(frame), noErr);
  }
  EXPECT_EQ(session.Complete(), noErr);
  EXPECT_EQ(session.OutputCount(), 3);
}

VIOLATION(complete_frames_in_the_callback, "waits for itself") {
  Session session;
  session.in_callback = [&] { session.Complete(); };
  session.Encode(0);
  self_test::SleepMs(5000);
}

VIOLATION(time_goes_back, "does not follow") {
  Session session;
  session.Encode(5);
  session.Encode(4);
}

VIOLATION(time_stands_still, "does not follow") {
  Session session;
  session.Encode(5);
  session.Encode(5);
}

TEST(low_latency_is_refused_and_then_not_asked_for) {
  vt_shim_set_script("no-llrc");
  Options options;
  options.low_latency = true;
  VTCompressionSessionRef session = nullptr;
  EXPECT_EQ(CreateSession(options, NoOutput, nullptr, &session), kVTCouldNotFindVideoEncoderErr);
  EXPECT(session == nullptr);
  options.low_latency = false;
  EXPECT_EQ(CreateSession(options, NoOutput, nullptr, &session), noErr);
  EXPECT(CopyText(session, kVTCompressionPropertyKey_EncoderID).ends_with("ave.avc"));
  CFRelease(session);
}

TEST(low_latency_encoder_says_so_by_its_id_alone) {
  Options options;
  options.low_latency = true;
  Session session(options);
  EXPECT(CopyText(session.ref, kVTCompressionPropertyKey_EncoderID).ends_with("h264.rtvc"));
  CFBooleanRef hardware = kCFBooleanFalse;
  EXPECT_EQ(VTSessionCopyProperty(session.ref,
                                  kVTCompressionPropertyKey_UsingHardwareAcceleratedVideoEncoder,
                                  nullptr, &hardware),
            noErr);
  EXPECT(hardware == nullptr);
}

TEST(without_hardware_the_last_rung_fails_or_is_software) {
  vt_shim_set_script("no-hardware");
  VTCompressionSessionRef session = nullptr;
  Options options;
  EXPECT_EQ(CreateSession(options, NoOutput, nullptr, &session), kVTCouldNotFindVideoEncoderErr);
  options.require_hardware = false;
  EXPECT_EQ(CreateSession(options, NoOutput, nullptr, &session), noErr);
  EXPECT(CopyText(session, kVTCompressionPropertyKey_EncoderID).ends_with(".h264"));
  CFRelease(session);
}

TEST(creation_fails_by_number_and_by_size) {
  vt_shim_set_script("refuse:1:-12915;refuse:2:-12907;max-size:640x480");
  VTCompressionSessionRef session = nullptr;
  Options options;
  EXPECT_EQ(CreateSession(options, NoOutput, nullptr, &session), kVTVideoEncoderNotAvailableNowErr);
  EXPECT_EQ(CreateSession(options, NoOutput, nullptr, &session), kVTCouldNotCreateInstanceErr);
  options.width = 1280;
  EXPECT_EQ(CreateSession(options, NoOutput, nullptr, &session), kVTCouldNotFindVideoEncoderErr);
  vt_shim_counters counters;
  vt_shim_get_counters(&counters);
  EXPECT_EQ(counters.sessions_refused, 3);
  EXPECT_EQ(counters.sessions_created, 0);
}

TEST(old_release_has_no_low_latency_hevc) {
  vt_shim_set_script("macos:13");
  VTCompressionSessionRef session = nullptr;
  Options options;
  options.low_latency = true;
  options.codec = kCMVideoCodecType_HEVC;
  EXPECT_EQ(CreateSession(options, NoOutput, nullptr, &session), kVTCouldNotFindVideoEncoderErr);
  vt_shim_set_script("macos:12");
  Session h264;
  Set(h264.ref, kVTCompressionPropertyKey_ConstantBitRate, 1000000, kVTPropertyNotSupportedErr);
}

TEST(each_encoder_refuses_other_properties) {
  vt_shim_set_script("unsupported:ave.avc:MaxFrameDelayCount;unset:EncoderID");
  Session session;
  constexpr auto kSpeed = "PrioritizeEncodingSpeedOverQuality";
  const CFStringRef speed = CFStringCreateWithCString(nullptr, kSpeed, kCFStringEncodingUTF8);
  Set(session.ref, speed, kCFBooleanTrue);
  Set(session.ref, kVTCompressionPropertyKey_MaxFrameDelayCount, 1, kVTPropertyNotSupportedErr);
  Set(session.ref, kVTCompressionPropertyKey_AllowOpenGOP, kCFBooleanFalse,
      kVTPropertyNotSupportedErr);
  Set(session.ref, kVTCompressionPropertyKey_EncoderID, CFSTR("x"), kVTPropertyReadOnlyErr);
  EXPECT(CopyText(session.ref, kVTCompressionPropertyKey_EncoderID).empty());
  CFDictionaryRef supported = nullptr;
  EXPECT_EQ(VTSessionCopySupportedPropertyDictionary(session.ref, &supported), noErr);
  EXPECT(CFDictionaryContainsKey(supported, kVTCompressionPropertyKey_RealTime));
  EXPECT(!CFDictionaryContainsKey(supported, kVTCompressionPropertyKey_MaxFrameDelayCount));
  CFRelease(supported);

  Options options;
  options.low_latency = true;
  Session low_latency(options);
  Set(low_latency.ref, speed, kCFBooleanTrue, kVTPropertyNotSupportedErr);
  Set(low_latency.ref, kVTCompressionPropertyKey_MaxFrameDelayCount, 1);
  Set(low_latency.ref, kVTCompressionPropertyKey_ProfileLevel, kVTProfileLevel_H264_Main_AutoLevel,
      kVTParameterErr);
  CFRelease(speed);
}

TEST(encoders_are_listed) {
  CFArrayRef list = nullptr;
  EXPECT_EQ(VTCopyVideoEncoderList(nullptr, &list), noErr);
  EXPECT_EQ(CFArrayGetCount(list), 6);
  CFRelease(list);
  CFStringRef id = nullptr;
  CFDictionaryRef properties = nullptr;
  EXPECT_EQ(VTCopySupportedPropertyDictionaryForEncoder(64, 48, kCMVideoCodecType_HEVC, nullptr,
                                                        &id, &properties),
            noErr);
  EXPECT(CFStringHasSuffix(id, CFSTR("ave.hevc")));
  EXPECT(CFDictionaryContainsKey(properties, kVTCompressionPropertyKey_AllowOpenGOP));
  CFRelease(id);
  CFRelease(properties);
}

static void ExpectFailure(const std::string &script, OSStatus returned, OSStatus afterwards,
                          size_t callbacks) {
  vt_shim_set_script(script.c_str());
  Session session;
  EXPECT_EQ(session.Encode(0), noErr);
  EXPECT_EQ(session.Encode(1), returned);
  session.Complete();
  EXPECT_EQ(session.OutputCount(), callbacks);
  if (callbacks == 2) {
    EXPECT(session.Outputs()[1].status != noErr && !session.Outputs()[1].has_sample);
  }
  EXPECT_EQ(session.Encode(2), afterwards);
}

TEST(scripted_failures) {
  for (const OSStatus final_error : {-12903, -12912, -17691}) {
    const std::string code = std::to_string(final_error);
    ExpectFailure("fail:2:" + code + ":sync", final_error, final_error, 1);
    ExpectFailure("fail:2:" + code + ":async", noErr, final_error, 2);
  }
  ExpectFailure("fail:2:-12915:sync", kVTVideoEncoderNotAvailableNowErr, noErr, 1);
  ExpectFailure("fail:2:-12915", noErr, noErr, 2);
}

TEST(a_failure_is_not_repeated_in_the_next_session) {
  vt_shim_set_script("fail:1:-12903:sync");
  Session first;
  EXPECT_EQ(first.Encode(0), kVTInvalidSessionErr);
  Session second;
  EXPECT_EQ(second.Encode(0), noErr);
  EXPECT_EQ(second.Complete(), noErr);
  EXPECT(second.Outputs()[0].key);
}

VIOLATION(a_script_that_cannot_be_read, "no rule is called") {
  vt_shim_set_script("fial:1");
}
