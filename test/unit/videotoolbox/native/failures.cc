// Errors of VideoToolbox, and the recovery of the stream.
#include "harness.h"

namespace harness {
namespace {

constexpr char kSet[] = "failures";
constexpr uint32_t kFrames = 16;

// The script's frame 6 is the stream's frame 4: the first is the warm-up.
void Mends(const std::string &script, uint64_t sessions, const std::string &note, uint32_t key = 4,
           const std::string &or_note = {}) {
  Stream stream(script, Small(), script.starts_with("silent") ? Hasty(kSoon) : Hasty());
  for (uint32_t i = 0; i < kFrames; ++i) {
    stream.EncodeOne(i);
    // One at a time, so that it is known which are under way.
    stream.TendUntil(i + 1);
  }
  stream.encoder.Finish();
  Expect(!stream.encoder.failure(), "it failed");
  stream.ExpectWhole(kFrames);
  const Events events = stream.events();
  Expect(Counters().sessions_created == sessions,
         "another number of sessions: " + std::to_string(Counters().sessions_created));
  if (or_note.empty() || events.notes.find(or_note) == std::string::npos) {
    ExpectHas(events.notes, note);
  }
  // The warm-up, the first frame, and the first of each further session.
  Expect(Counters().forced_key_frames == sessions + 1,
         "a session begins without a forced key frame");
  for (const auto &[number, packet] : events.packets) {
    Expect(packet.key == (number == 0 || number == key),
           "the new session begins without key frame");
  }
}

// With as many frames in flight as there may be.
void MendsInFlight(const std::string &script) {
  Stream stream(script);
  stream.EncodeAll(0, kFrames);
  stream.TendUntil(kFrames);
  stream.ExpectWhole(kFrames);
}

// A new session has the latest bit rate.
TEST(a_new_session_keeps_the_rate) {
  Settings settings = Small();
  settings.rates = {3'000'000, 3'000'000, 3'000'000};
  Stream stream("fail:3:-12903", settings);
  stream.EncodeOne(0);
  stream.encoder.SetRates({150'000, 150'000, 150'000}, 1000);
  stream.EncodeAll(1, 90);
  stream.encoder.Finish();
  size_t bytes = 0;
  for (const auto &[number, packet] : stream.events().packets) {
    if (number >= 30) bytes += packet.bytes.size();
  }
  Expect(Counters().sessions_created == 2, "the session was not replaced");
  Expect(bytes < 2 * 150'000 / 8 * 2,
         "the new session has the old bit rate: " + std::to_string(bytes) + " bytes in 2 s");
}

// When nothing works any more: the number of attempts is bounded.
void GivesUp(const std::string &script, const std::string &why) {
  Stream stream(script, Small(), Hasty(kSoon));
  stream.EncodeAll(0, 8);
  stream.TendUntil(8);
  const std::string failure = stream.encoder.failure().value_or("nothing");
  ExpectHas(failure, why);
  const Events events = stream.events();
  Expect(events.packets.size() == 3 && events.failed.size() == 5,
         "earlier frames are lost, or later ones not answered");
  Expect(events.failed.at(7) == failure, "a frame has another reason");
  stream.encoder.Finish();
  stream.encoder.SetRates({1'000'000, 1'000'000, 1'000'000}, 10);
  Expect(stream.encoder.Tend() == FrameClock::time_point::max(), "something is due still");
}

// The encoder is called only when it asks for it.
TEST(silence_is_seen_without_a_new_frame) {
  Stream stream("silent:4", Small(), Hasty(kSoon));
  stream.EncodeAll(0, 4);
  stream.TendUntil(4);
  stream.ExpectWhole(4);
  ExpectHas(stream.events().notes, "no answer for 1500 ms");
  Expect(Counters().sessions_created == 2, "no new session");
}

// Ends with frames at every stage; the shim and the sanitizers check the rest.
TEST(teardown_at_any_moment) {
  for (const char *script : {"", "delay:2+:100", "silent:2", "late:2:-12912", "fail:2:-12903",
                             "early:*", "delay:2+:100;invalidate:flush"}) {
    for (uint32_t frames = 0; frames < 3; ++frames) {
      Stream(script).EncodeAll(0, frames);
    }
  }
}

// An error of one frame costs only that frame.
TEST(a_frame_of_the_wrong_size) {
  Stream stream;
  stream.EncodeOne(0);
  stream.Encode(1, Draw(*stream.format, 80, 120, 1));
  stream.EncodeOne(2);
  const auto [read, dropped, answered, packets, failed, notes] = stream.Finish();
  Expect(failed.size() == 1, "a frame of the right size is refused");
  ExpectHas(failed.at(1), "80x120");
  Expect(packets.size() == 2 && !packets.at(2).key && !stream.encoder.failure(),
         "it costs more than the frame");
}

[[maybe_unused]] const bool added = [] {
  const auto mends = [](const std::string &script, uint64_t sessions, const std::string &note) {
    Add(kSet, "mended: " + script, [=] { Mends(script, sessions, note); });
  };
  const auto in_flight = [](const std::string &script) {
    Add(kSet, "in flight: " + script, [=] { MendsInFlight(script); });
  };
  const auto fails = [](const std::string &script, const std::string &why) {
    Add(kSet, "fails: " + script, [=] { GivesUp(script, why); });
  };
  for (const std::string status : {"-12903", "-12912", "-17691", "-12915", "-12907", "-12902"}) {
    mends("fail:6:" + status, 2, "an output: " + status);
    mends("fail:6:" + status + ":sync", 2, "encoding a frame: " + status);
    // The callback may come before EncodeFrame has returned its status: either reports the error.
    const std::string late = "late:6:" + status;
    Add(kSet, "mended: " + late,
        [=] { Mends(late, 2, "encoding a frame: " + status, 4, "an output: " + status); });
    in_flight("delay:*:5;fail:6:" + status + ";fail:9:" + status + ":sync;late:12:" + status +
              ";fail:15:" + status);
  }
  mends("fail:6:-12908", 2, "hardware encoder, encoder com.apple.videotoolbox.videoencoder.ave");
  mends("fail:6-8:-12912", 4, "encoder malfunction");
  mends("malformed:6", 2, "an access unit has a NAL unit of ");
  mends("silent:6", 2, "no answer for 1500 ms");
  // Two buffers for each frame, and one for the warm-up.
  Add(kSet, "mended: pool", [] { Mends("pool:6:-6662", 2, "a pixel buffer of a pool: -6662", 2); });
  mends("fail:6:-12903;refuse:2-5:-12915", 2, "no encoder is free");
  // Frame 7 is encoded behind frame 6, which is missing, before the session's thread can know.
  in_flight("delay:6:20;fail:6:-12915;early:7");
  in_flight("delay:*:5;invalidate:flush;fail:6:-12903:sync");
  for (const std::string status : {"-12903", "-12912", "-12915"}) {
    fails("fail:5+:" + status, status + " (");
  }
  fails("silent:5+", "no answer for 1500 ms");
  fails("fail:5+:-12908", "no such encoder");
  fails("fail:5:-12903;refuse:2+:-12912", "after 4 attempts");
  return true;
}();

}  // namespace
}  // namespace harness
