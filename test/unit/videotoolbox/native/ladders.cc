// The choice of an encoder, and its properties.
#include "harness.h"

namespace harness {
namespace {

constexpr char kSet[] = "ladders";

// The notes of an encoder that has encoded ten frames.
std::string Opened(const std::string &script, const Settings &settings = Small()) {
  Stream stream(script, settings);
  stream.EncodeAll(0, 10);
  stream.ExpectWhole(10);
  return stream.events().notes;
}

std::string Refused(const std::string &script, Settings settings = Small()) {
  vt_shim_set_script(script.c_str());
  Recorder recorder;
  try {
    const Encoder encoder(settings, recorder, Hasty());
  } catch (const std::runtime_error &error) {
    Expect(recorder.events().read.empty() && recorder.events().answered.empty(),
           "the warm-up reaches the stream");
    return error.what();
  }
  Expect(false, "it opened");
  return {};
}

size_t CountOf(const std::string &text, const std::string &part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(low_latency_rate_control_first) {
  const std::string notes = Opened("");
  ExpectHas(notes,
            "low-latency rate control, encoder com.apple.videotoolbox.videoencoder.h264.rtvc");
  ExpectHas(notes, "hardware not reported");
  ExpectHas(notes, "refused: PrioritizeEncodingSpeedOverQuality: -12900");
  Expect(CountOf(notes, "refused") == 1 && CountOf(notes, "-12900") == 1, "more is refused");
  Expect(Counters().sessions_created == 1 && Counters().sessions_refused == 0, "a second session");
}

TEST(any_hardware_encoder_without_low_latency) {
  for (const char *script : {"no-llrc", "no-llrc:-12902"}) {
    const std::string notes = Opened(script);
    ExpectHas(notes,
              "hardware encoder, encoder com.apple.videotoolbox.videoencoder.ave.avc, hardware");
    Expect(Counters().sessions_refused == 1 && Counters().sessions_created == 1,
           "not one session after one refusal");
    Expect(Counters().frames_dropped == 0, "frames are dropped");
  }
}

TEST(never_the_software_encoder) {
  const std::string why = Refused("no-hardware");
  ExpectHas(why, "low-latency rate control: ");
  ExpectHas(why, "hardware encoder: ");
  ExpectHas(why, "-12908");
  Expect(Counters().sessions_created == 0, "a session of the software encoder");
  Expect(Counters().sessions_refused == 2, "a missing encoder is requested again");
}

TEST(a_size_that_no_encoder_takes) {
  ExpectHas(Refused("max-size:128x128"), "no such encoder");
}

TEST(hevc_before_macos_14) {
  Settings settings = Small();
  settings.codec = Codec::kHevc;
  ExpectHas(Opened("macos:13", settings), "hardware encoder, encoder com.apple.videotoolbox");
  ExpectHas(Opened("macos:14", settings),
            "low-latency rate control, encoder com.apple.videotoolbox");
}

TEST(profiles_beside_high) {
  for (const Profile profile : {Profile::kMain, Profile::kConstrainedBaseline}) {
    Settings settings = Small();
    settings.profile = profile;
    ExpectHas(Opened("", settings), "hardware encoder, ");
    Expect(Counters().sessions_created == 1, "low latency is requested for another profile");
  }
  Settings settings = Small();
  settings.profile = Profile::kMain;
  ExpectHas(Refused("unsupported:avc:ProfileLevel", settings),
            "ProfileLevel = H264_Main_AutoLevel");
  ExpectHas(Opened("unsupported:rtvc:ProfileLevel"), "ProfileLevel: -12900");
}

// No refused property ends a stream, even if the encoder then reorders frames.
TEST(properties_that_are_not_supported) {
  std::string script = "no-llrc";
  for (const char *key :
       {"RealTime", "AllowFrameReordering", "MaxKeyFrameInterval", "MaxKeyFrameIntervalDuration",
        "MaxFrameDelayCount", "ExpectedFrameRate", "MaximumRealTimeFrameRate", "DataRateLimits",
        "PrioritizeEncodingSpeedOverQuality", "ColorPrimaries", "TransferFunction",
        "YCbCrMatrix"}) {
    script += std::string(";unsupported:avc:") + key;
  }
  const std::string notes = Opened(script);
  Expect(CountOf(notes, "-12900") == 12, "a refusal is not reported: " + notes);
}

TEST(an_encoder_that_does_not_report_its_identity) {
  ExpectHas(Opened("no-llrc;unset:EncoderID;unset:UsingHardwareAcceleratedVideoEncoder"),
            "encoder unnamed, hardware not reported");
  ExpectHas(Opened("unset:EncoderID"), "low latency not confirmed");
}

TEST(busy_encoders) {
  for (const char *status : {"-12915", "-12907"}) {
    const std::string notes = Opened(std::string("refuse:1-4:") + status);
    ExpectHas(notes, "no encoder is free");
    Expect(Counters().sessions_refused == 4 && Counters().sessions_created == 1,
           "a busy encoder is not waited for");
    ExpectHas(Refused(std::string("refuse:*:") + status), "after 4 attempts");
    Expect(Counters().sessions_refused == 8, "the wait is not bounded as said");
  }
  // Low latency is busy, and the other one does not exist.
  ExpectHas(Opened("refuse:1:-12915;refuse:2:-12908"), "low-latency rate control, encoder");
}

// It is not part of the stream, which begins with a key frame of its own.
TEST(the_warm_up) {
  Stream stream;
  Expect(Counters().frames_encoded == 1, "no frame is encoded on opening");
  Expect(stream.events().read.empty() && stream.events().answered.empty(),
         "the warm-up reaches the stream");
  stream.EncodeAll(0, 2);
  const auto packets = stream.Finish().packets;
  Expect(packets.at(0).key && !packets.at(1).key, "no key frame at the start");
}

}  // namespace
}  // namespace harness
