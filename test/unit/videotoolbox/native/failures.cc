// Errors of VideoToolbox, and the recovery of the stream.
#include <algorithm>

#include "harness.h"

namespace harness {
namespace {

constexpr uint32_t kFrames = 16;

// Every frame became a packet, once, in order, and a decoder takes them all.
void ExpectWhole(const Settings &settings, const Recorder &recorder, uint32_t frames) {
  Expect(recorder.packets().size() == frames, "a frame became no packet");
  const auto pictures = Decode(settings.codec, recorder.packets());
  Expect(pictures.size() == frames, "the stream cannot be decoded");
  for (uint32_t i = 0; i < frames; ++i) {
    const FramePointer expected =
        Expected(FormatNamed("BGRx"), settings.width, settings.height, static_cast<int>(i), false);
    Expect(Likeness(*pictures[i], *expected) > 35, "a frame shows another");
  }
}

// The script's frame 6 is the stream's frame 4: the first is the warm-up.
void Mends(const std::string &script, uint64_t sessions, const std::string &note,
           uint32_t key = 4) {
  vt_shim_set_script(script.c_str());
  const Settings settings = Small();
  Recorder recorder;
  {
    const bool silent = script.starts_with("silent");
    Encoder encoder(settings, recorder, silent ? Hasty(kSoon) : Hasty());
    for (uint32_t i = 0; i < kFrames; ++i) {
      EncodeOne(encoder, settings, i);
      // One at a time, so that it is known which are under way.
      recorder.TendUntil(encoder, i + 1);
    }
    encoder.Finish();
    Expect(!encoder.failure(), "it failed");
  }
  ExpectWhole(settings, recorder, kFrames);
  Expect(Counters().sessions_created == sessions,
         "another number of sessions: " + std::to_string(Counters().sessions_created));
  Expect(recorder.notes().find(note) != std::string::npos, "not reported: " + recorder.notes());
  // The warm-up, the first frame, and the first of each further session.
  Expect(Counters().forced_key_frames == sessions + 1,
         "a session begins without a forced key frame");
  for (const auto &[number, packet] : recorder.packets()) {
    Expect(packet.key == (number == 0 || number == key),
           "the new session begins without key frame");
  }
}

// With as many frames in flight as there may be.
void MendsInFlight(const std::string &script) {
  vt_shim_set_script(script.c_str());
  const Settings settings = Small();
  Recorder recorder;
  {
    Encoder encoder(settings, recorder, Hasty());
    for (uint32_t i = 0; i < kFrames; ++i) EncodeOne(encoder, settings, i);
    recorder.TendUntil(encoder, kFrames);
  }
  ExpectWhole(settings, recorder, kFrames);
}

// A new session has the latest bit rate.
void KeepsTheRate() {
  vt_shim_set_script("fail:3:-12903");
  Settings settings = Small();
  settings.rates = {3'000'000, 3'000'000, 3'000'000};
  Recorder recorder;
  Encoder encoder(settings, recorder, Hasty());
  EncodeOne(encoder, settings, 0);
  encoder.SetRates({150'000, 150'000, 150'000}, 1000);
  for (uint32_t i = 1; i < 90; ++i) EncodeOne(encoder, settings, i);
  encoder.Finish();
  size_t bytes = 0;
  for (const auto &[number, packet] : recorder.packets()) {
    if (number >= 30) bytes += packet.bytes.size();
  }
  Expect(Counters().sessions_created == 2, "the session was not replaced");
  Expect(bytes < 2 * 150'000 / 8 * 2,
         "the new session has the old bit rate: " + std::to_string(bytes) + " bytes in 2 s");
}

// When nothing works any more: the number of attempts is bounded.
void GivesUp(const std::string &script, const std::string &why) {
  vt_shim_set_script(script.c_str());
  const Settings settings = Small();
  Recorder recorder;
  Encoder encoder(settings, recorder, Hasty(kSoon));
  for (uint32_t i = 0; i < 8; ++i) EncodeOne(encoder, settings, i);
  recorder.TendUntil(encoder, 8);
  Expect(encoder.failure().has_value() && encoder.failure()->find(why) != std::string::npos,
         "another reason is reported: " + encoder.failure().value_or("nothing"));
  Expect(recorder.packets().size() == 3 && recorder.failed().size() == 5,
         "earlier frames are lost, or later ones not answered");
  Expect(recorder.failed().at(7) == *encoder.failure(), "a frame has another reason");
  encoder.Finish();
  encoder.SetRates({1'000'000, 1'000'000, 1'000'000}, 10);
  Expect(encoder.Tend() == FrameClock::time_point::max(), "something is due still");
}

// The encoder is called only when it asks for it.
void SilenceIsSeen() {
  vt_shim_set_script("silent:4");
  const Settings settings = Small();
  Recorder recorder;
  Encoder encoder(settings, recorder, Hasty(kSoon));
  for (uint32_t i = 0; i < 4; ++i) EncodeOne(encoder, settings, i);
  recorder.TendUntil(encoder, 4);
  ExpectWhole(settings, recorder, 4);
  Expect(recorder.notes().find("no answer for 1500 ms") != std::string::npos, "not reported");
  Expect(Counters().sessions_created == 2, "no new session");
}

// Ends with frames at every stage; the shim and the sanitizers check the rest.
void Teardown() {
  for (const char *script : {"", "delay:2+:100", "silent:2", "late:2:-12912", "fail:2:-12903",
                             "early:*", "delay:2+:100;invalidate:flush"}) {
    for (uint32_t frames = 0; frames < 3; ++frames) {
      vt_shim_set_script(script);
      Recorder recorder;
      Encoder encoder(Small(), recorder, Hasty());
      for (uint32_t i = 0; i < frames; ++i) EncodeOne(encoder, Small(), i);
    }
  }
}

// An error of one frame costs only that frame.
void WrongSize() {
  Settings other = Small();
  other.width = 80;
  Recorder recorder;
  Encoder encoder(Small(), recorder, Hasty());
  EncodeOne(encoder, Small(), 0);
  EncodeOne(encoder, other, 1);
  EncodeOne(encoder, Small(), 2);
  encoder.Finish();
  Expect(
      recorder.failed().size() == 1 && recorder.failed().at(1).find("80x120") != std::string::npos,
      "the wrong frame is not refused with its size");
  Expect(recorder.packets().size() == 2 && !recorder.packets().at(2).key && !encoder.failure(),
         "it costs more than the frame");
}

}  // namespace

void AddFailures(std::vector<Case> &cases) {
  const auto mends = [&](const std::string &script, uint64_t sessions, const std::string &note) {
    cases.push_back({"mended: " + script, [=] { Mends(script, sessions, note); }});
  };
  for (const std::string status : {"-12903", "-12912", "-17691", "-12915", "-12907", "-12902"}) {
    mends("fail:6:" + status, 2, "an output: " + status);
    mends("fail:6:" + status + ":sync", 2, "encoding a frame: " + status);
    mends("late:6:" + status, 2, "encoding a frame: " + status);
    const std::string in_flight = "delay:*:5;fail:6:" + status + ";fail:9:" + status +
                                  ":sync;late:12:" + status + ";fail:15:" + status;
    cases.push_back({"in flight: " + in_flight, [=] { MendsInFlight(in_flight); }});
  }
  mends("fail:6:-12908", 2, "hardware encoder, encoder com.apple.videotoolbox.videoencoder.ave");
  mends("fail:6-8:-12912", 4, "encoder malfunction");
  mends("malformed:6", 2, "an access unit has a NAL unit of ");
  mends("silent:6", 2, "no answer for 1500 ms");
  // Two buffers for each frame, and one for the warm-up.
  cases.push_back(
      {"mended: pool", [] { Mends("pool:6:-6662", 2, "a pixel buffer of a pool: -6662", 2); }});
  mends("fail:6:-12903;refuse:2-5:-12915", 2, "no encoder is free");
  // Frame 7 is encoded behind frame 6, which is missing, before the session's thread can know.
  cases.push_back(
      {"in flight: one behind a loss", [] { MendsInFlight("delay:6:20;fail:6:-12915;early:7"); }});
  cases.push_back({"in flight: invalidate flushes",
                   [] { MendsInFlight("delay:*:5;invalidate:flush;fail:6:-12903:sync"); }});
  cases.push_back({"a new session keeps the rate", KeepsTheRate});
  cases.push_back({"silence is seen without a new frame", SilenceIsSeen});
  for (const std::string status : {"-12903", "-12912", "-12915"}) {
    cases.push_back({"fails: " + status, [=] { GivesUp("fail:5+:" + status, status + " ("); }});
  }
  cases.push_back({"fails: silence", [] { GivesUp("silent:5+", "no answer for 1500 ms"); }});
  cases.push_back({"fails: no encoder", [] { GivesUp("fail:5+:-12908", "no such encoder"); }});
  cases.push_back(
      {"fails: no session", [] { GivesUp("fail:5:-12903;refuse:2+:-12912", "after 4 attempts"); }});
  cases.push_back({"teardown at any moment", Teardown});
  cases.push_back({"a frame of the wrong size", WrongSize});
}

}  // namespace harness
