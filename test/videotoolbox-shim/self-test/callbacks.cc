// Behaviours 1 to 5: when callbacks come, and with what.
#include <algorithm>

#include "fixture.h"

namespace self_test {

TEST(callback_on_another_thread) {
  Session session;
  session.EncodeAll(1);
  EXPECT_EQ(session.OutputCount(), 1);
  EXPECT(session.Outputs()[0].thread != std::this_thread::get_id());
}

TEST(callback_before_encode_returns) {
  vt_shim_set_script("early:%3");
  Session session;
  for (int frame = 0; frame < 9; ++frame) {
    EXPECT_EQ(session.Encode(frame), noErr);
    if (frame % 3 == 2) EXPECT_EQ(session.OutputCount(), frame + 1);
  }
}

VIOLATION(callback_needs_a_lock_that_encode_holds, "is a lock held that it needs?") {
  vt_shim_set_script("early:1;patience:500");
  Session session;
  std::mutex mutex;
  session.in_callback = [&] { std::lock_guard lock(mutex); };
  std::lock_guard lock(mutex);
  session.Encode(0);
}

TEST(encode_blocks_for_a_scripted_time) {
  vt_shim_set_script("block:2:200");
  Session session;
  session.Encode(0);
  const auto start = std::chrono::steady_clock::now();
  session.Encode(1);
  EXPECT(std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(200));
}

TEST(encode_blocks_while_too_many_are_pending) {
  vt_shim_set_script("pending:2;delay:*:100");
  Session session;
  for (int frame = 0; frame < 3; ++frame) session.Encode(frame);
  EXPECT(session.OutputCount() >= 1);
}

// Locked before it is submitted, written to afterwards.
static void OverwriteInput(const char *script) {
  vt_shim_set_script(script);
  Session session;
  const auto buffer = session.NewPicture(0);
  CVPixelBufferLockBaseAddress(buffer.get(), 0);
  auto *bytes = static_cast<uint8_t *>(CVPixelBufferGetBaseAddressOfPlane(buffer.get(), 0));
  EXPECT_EQ(session.Encode(buffer.get(), 0), noErr);
  ++bytes[10];
  EXPECT_EQ(session.Complete(), noErr);
  CVPixelBufferUnlockBaseAddress(buffer.get(), 0);
}

VIOLATION(input_overwritten_before_the_callback, "was overwritten before its callback") {
  OverwriteInput("delay:*:100");
}

TEST(unchecked_input_may_be_overwritten) {
  OverwriteInput("delay:*:100;unchecked");
}

static void EncodeSlowly(Session &session, CVPixelBufferRef buffer) {
  vt_shim_set_script("delay:*:100");
  EXPECT_EQ(session.Encode(buffer, 0), noErr);
}

VIOLATION(input_locked_for_writing_before_the_callback, "the encoder may still read") {
  Session session;
  const auto buffer = session.NewPicture(0);
  EncodeSlowly(session, buffer.get());
  CVPixelBufferLockBaseAddress(buffer.get(), 0);
}

VIOLATION(plain_input_locked_for_writing_before_the_callback, "the encoder may still read") {
  Session session;
  const auto buffer = NewBuffer(kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange);
  EncodeSlowly(session, buffer.get());
  CVPixelBufferLockBaseAddress(buffer.get(), 0);
}

VIOLATION(surface_locked_for_writing_before_the_callback,
          "an encoder may still read this surface") {
  Session session;
  const auto buffer = session.NewPicture(0);
  EncodeSlowly(session, buffer.get());
  IOSurfaceLock(CVPixelBufferGetIOSurface(buffer.get()), 0, nullptr);
}

TEST(dropped_frames_have_no_sample) {
  vt_shim_set_script("null:2;drop:3");
  Session session;
  session.EncodeAll(4, 2);
  const auto outputs = session.Outputs();
  EXPECT_EQ(outputs.size(), 4);
  EXPECT(outputs[0].has_sample && outputs[3].has_sample);
  EXPECT(!outputs[1].has_sample && outputs[1].flags == 0 && outputs[1].status == noErr);
  EXPECT(!outputs[2].has_sample && outputs[2].flags == kVTEncodeInfo_FrameDropped);
  EXPECT_EQ(outputs[2].status, noErr);
  EXPECT(!outputs[3].packet.key);  // the forced key frame went with the frame that was dropped
  const vt_shim_counters counters = Counters();
  EXPECT_EQ(counters.frames_submitted, 4);
  EXPECT_EQ(counters.frames_encoded, 2);
  EXPECT_EQ(counters.frames_dropped, 2);
  EXPECT_EQ(counters.untagged_frames, 4);
}

TEST(late_callback_after_a_synchronous_error) {
  vt_shim_set_script("late:2:-12912");
  Session session;
  EXPECT_EQ(session.Encode(0), noErr);
  EXPECT_EQ(session.Encode(1), kVTVideoEncoderMalfunctionErr);
  session.WaitForOutputs(2);
  EXPECT_EQ(session.Outputs()[1].frame, 1);
  EXPECT_EQ(session.Outputs()[1].status, kVTVideoEncoderMalfunctionErr);
}

TEST(silent_session_ends_with_invalidate) {
  vt_shim_set_script("silent:2");
  Session session;
  for (int frame = 0; frame < 4; ++frame) EXPECT_EQ(session.Encode(frame), noErr);
  session.WaitForOutputs(1);
  VTCompressionSessionInvalidate(session.get());
  EXPECT_EQ(session.OutputCount(), 1);
  EXPECT_EQ(Counters().frames_discarded, 3);
}

VIOLATION(complete_frames_of_a_silent_session, "an encoder that answers no more") {
  vt_shim_set_script("silent:1;patience:500");
  Session session;
  session.Encode(0);
  session.Complete();
}

TEST(with_reordering_frames_come_late_and_out_of_order) {
  Session session({.reordering = true});
  session.EncodeAll(7);
  const auto outputs = session.Outputs();
  EXPECT_EQ(outputs.size(), 7);
  EXPECT(outputs[0].submitted > 2 && outputs[0].valid_dts);
  EXPECT(!std::ranges::is_sorted(outputs, {}, &Output::frame));
  EXPECT_EQ(session.Encode(7), noErr);
  EXPECT_EQ(session.Complete(), noErr);
  EXPECT(session.Outputs()[7].packet.key);
}

}  // namespace self_test
