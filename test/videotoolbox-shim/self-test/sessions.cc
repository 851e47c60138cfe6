// Behaviours 6 to 11: sessions, their creation, properties, failures and end; and the environment
// of a process that does not know of the shim, such as Node.js.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "fixture.h"

namespace self_test {

static std::string IdOf(VTCompressionSessionRef session) {
  CfRef<CFTypeRef> text;
  EXPECT_EQ(
      VTSessionCopyProperty(session, kVTCompressionPropertyKey_EncoderID, nullptr, text.Out()),
      noErr);
  return Text(text.get());
}

TEST(invalidate_joins_and_ends_everything) {
  vt_shim_set_script("delay:*:20");
  Session session;
  const auto buffer = session.NewPicture(1);
  EXPECT_EQ(session.Encode(0), noErr);
  VTCompressionSessionInvalidate(session.get());
  EXPECT_EQ(session.OutputCount() + Counters().frames_discarded, 1);
  EXPECT_EQ(session.Encode(buffer.get(), 1), kVTInvalidSessionErr);
  EXPECT_EQ(session.Complete(), kVTInvalidSessionErr);
  EXPECT_EQ(VTCompressionSessionPrepareToEncodeFrames(session.get()), kVTInvalidSessionErr);
  session.Set(kVTCompressionPropertyKey_RealTime, kCFBooleanTrue, kVTInvalidSessionErr);
  EXPECT(VTCompressionSessionGetPixelBufferPool(session.get()) == nullptr);
}

TEST(invalidate_can_call_back_for_pending_frames) {
  vt_shim_set_script("delay:*:500;invalidate:flush");
  Session session;
  EXPECT_EQ(session.Encode(0), noErr);
  EXPECT_EQ(session.Encode(1), noErr);
  VTCompressionSessionInvalidate(session.get());
  EXPECT_EQ(session.OutputCount(), 2);
  EXPECT_EQ(session.Outputs()[1].status, kVTInvalidSessionErr);
}

VIOLATION(invalidate_in_the_callback, "waits for itself") {
  Session session;
  session.in_callback = [&] { VTCompressionSessionInvalidate(session.get()); };
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
  session.WaitForOutputs(1);
  VTCompressionSessionInvalidate(session.get());
}

TEST(complete_frames_blocks) {
  vt_shim_set_script("delay:*:50");
  Session session;
  session.EncodeAll(3);
  EXPECT_EQ(session.OutputCount(), 3);
}

VIOLATION(complete_frames_in_the_callback, "waits for itself") {
  Session session;
  session.in_callback = [&] { session.Complete(); };
  session.Encode(0);
  WaitForTheEnd();
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
  CfRef<VTCompressionSessionRef> session;
  EXPECT_EQ(CreateOnly({.low_latency = true}, &session), kVTCouldNotFindVideoEncoderErr);
  EXPECT(!session);
  EXPECT_EQ(CreateOnly({}, &session), noErr);
  EXPECT(IdOf(session.get()).ends_with("ave.avc"));
}

TEST(low_latency_shows_in_the_id_alone) {
  Session session({.low_latency = true});
  EXPECT(IdOf(session.get()).ends_with("h264.rtvc"));
  CfRef<CFTypeRef> hardware;
  EXPECT_EQ(VTSessionCopyProperty(session.get(),
                                  kVTCompressionPropertyKey_UsingHardwareAcceleratedVideoEncoder,
                                  nullptr, hardware.Out()),
            noErr);
  EXPECT(!hardware);
}

TEST(without_hardware_the_last_rung_fails_or_is_software) {
  vt_shim_set_script("no-hardware");
  CfRef<VTCompressionSessionRef> session;
  EXPECT_EQ(CreateOnly({}, &session), kVTCouldNotFindVideoEncoderErr);
  EXPECT_EQ(CreateOnly({.require_hardware = false}, &session), noErr);
  EXPECT(IdOf(session.get()).ends_with(".h264"));
}

TEST(creation_fails_by_number_and_by_size) {
  vt_shim_set_script("refuse:1:-12915;refuse:2:-12907;max-size:640x480");
  CfRef<VTCompressionSessionRef> session;
  EXPECT_EQ(CreateOnly({}, &session), kVTVideoEncoderNotAvailableNowErr);
  EXPECT_EQ(CreateOnly({}, &session), kVTCouldNotCreateInstanceErr);
  EXPECT_EQ(CreateOnly({.width = 1280}, &session), kVTCouldNotFindVideoEncoderErr);
  EXPECT_EQ(Counters().sessions_refused, 3);
  EXPECT_EQ(Counters().sessions_created, 0);
}

TEST(old_release_has_no_low_latency_hevc) {
  vt_shim_set_script("macos:13");
  CfRef<VTCompressionSessionRef> session;
  EXPECT_EQ(CreateOnly({.codec = Codec::kHevc, .low_latency = true}, &session),
            kVTCouldNotFindVideoEncoderErr);
  vt_shim_set_script("macos:12");
  Session h264;
  h264.Set(kVTCompressionPropertyKey_ConstantBitRate, Number(int32_t{1000000}).get(),
           kVTPropertyNotSupportedErr);
}

TEST(each_encoder_refuses_other_properties) {
  vt_shim_set_script("unsupported:ave.avc:MaxFrameDelayCount;unset:EncoderID");
  const auto one = Number(int32_t{1});
  const CFStringRef speed = kVTCompressionPropertyKey_PrioritizeEncodingSpeedOverQuality;
  Session session;
  session.Set(speed, kCFBooleanTrue);
  session.Set(kVTCompressionPropertyKey_MaxFrameDelayCount, one.get(), kVTPropertyNotSupportedErr);
  session.Set(kVTCompressionPropertyKey_AllowOpenGOP, kCFBooleanFalse, kVTPropertyNotSupportedErr);
  session.Set(kVTCompressionPropertyKey_EncoderID, CFSTR("x"), kVTPropertyReadOnlyErr);
  session.Set(CFSTR("Unknown"), kCFBooleanTrue, kVTPropertyNotSupportedErr);
  EXPECT(IdOf(session.get()).empty());

  Session low_latency({.low_latency = true});
  low_latency.Set(speed, kCFBooleanTrue, kVTPropertyNotSupportedErr);
  low_latency.Set(kVTCompressionPropertyKey_MaxFrameDelayCount, one.get());
  low_latency.Set(kVTCompressionPropertyKey_ProfileLevel, kVTProfileLevel_H264_Main_AutoLevel,
                  kVTParameterErr);
}

TEST(encoders_are_listed) {
  CfRef<CFArrayRef> list;
  EXPECT_EQ(VTCopyVideoEncoderList(nullptr, list.Out()), noErr);
  EXPECT_EQ(CFArrayGetCount(list.get()), 6);
}

static void ExpectFailure(const std::string &script, OSStatus returned, OSStatus afterwards,
                          size_t callbacks) {
  vt_shim_set_script(script.c_str());
  Session session;
  EXPECT_EQ(session.Encode(0), noErr);
  EXPECT_EQ(session.Encode(1), returned);
  session.Complete();
  EXPECT_EQ(session.OutputCount(), callbacks);
  EXPECT(callbacks == 1 ||
         (session.Outputs()[1].status != noErr && !session.Outputs()[1].has_sample));
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
  second.EncodeAll(1);
  EXPECT(second.Outputs()[0].packet.key);
}

VIOLATION(a_script_that_cannot_be_read, "no rule is called") {
  vt_shim_set_script("fial:1");
}

VIOLATION(script_of_the_environment, "no rule is called \"fial\"") {
  setenv("VT_SHIM_SCRIPT", "fial:1", 1);
  Session session;
}

VIOLATION(script_file_is_read_again, "no rule is called \"changed\"") {
  const int descriptor = memfd_create("script", 0);
  const std::string path = "/proc/self/fd/" + std::to_string(descriptor);
  EXPECT(write(descriptor, "refuse:*:-12907\n", 16) == 16);
  setenv("VT_SHIM_SCRIPT_FILE", path.c_str(), 1);
  CfRef<VTCompressionSessionRef> session;
  EXPECT_EQ(CreateOnly({}, &session), kVTCouldNotCreateInstanceErr);
  EXPECT(pwrite(descriptor, "changed;        ", 16, 0) == 16);
  const timespec times[2] = {{.tv_sec = 1, .tv_nsec = 0}, {.tv_sec = 1, .tv_nsec = 0}};
  EXPECT_EQ(futimens(descriptor, times), 0);
  CreateOnly({}, &session);
}

VIOLATION(report_at_exit, "\"encoding_ns\": 0, \"live_objects\": 1}") {
  setenv("VT_SHIM_REPORT", "/dev/stderr", 1);
  setenv("VT_SHIM_LEAKS", "abort", 1);
  CFRetain(NewBuffer(kCVPixelFormatType_32BGRA).get());
}

}  // namespace self_test
