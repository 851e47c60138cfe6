// The choice of an encoder, and its properties.
#include "harness.h"

namespace harness {
namespace {

// The notes of an encoder that has encoded ten frames.
std::string Opened(const std::string &script, Settings settings = Small()) {
  vt_shim_set_script(script.c_str());
  Recorder recorder;
  {
    Encoder encoder(settings, recorder, Hasty());
    for (uint32_t i = 0; i < 10; ++i) EncodeOne(encoder, settings, i);
    encoder.Finish();
  }
  Expect(recorder.packets().size() == 10, "frames are lost");
  Expect(Decode(settings.codec, recorder.packets()).size() == 10, "the stream cannot be decoded");
  return recorder.notes();
}

std::string Refused(const std::string &script, Settings settings = Small()) {
  vt_shim_set_script(script.c_str());
  Recorder recorder;
  try {
    const Encoder encoder(settings, recorder, Hasty());
  } catch (const std::runtime_error &error) {
    Expect(recorder.answers() == 0 && recorder.reads() == 0, "the warm-up reaches the stream");
    return error.what();
  }
  Expect(false, "it opened");
  return {};
}

void Has(const std::string &text, const std::string &part) {
  Expect(text.find(part) != std::string::npos, "\"" + part + "\" is missing in: " + text);
}

void LowLatency() {
  const std::string notes = Opened("");
  Has(notes, "low-latency rate control, encoder com.apple.videotoolbox.videoencoder.h264.rtvc");
  Has(notes, "hardware not reported");
  Has(notes, "refused: PrioritizeEncodingSpeedOverQuality: -12900");
  Expect(CountOf(notes, "refused") == 1 && CountOf(notes, "-12900") == 1, "more is refused");
  Expect(Counters().sessions_created == 1 && Counters().sessions_refused == 0, "a second session");
}

void WithoutLowLatency() {
  for (const char *script : {"no-llrc", "no-llrc:-12902"}) {
    vt_shim_reset_counters();
    const std::string notes = Opened(script);
    Has(notes, "hardware encoder, encoder com.apple.videotoolbox.videoencoder.ave.avc, hardware");
    Expect(Counters().sessions_refused == 1 && Counters().sessions_created == 1,
           "not one session after one refusal");
    Expect(Counters().frames_dropped == 0, "frames are dropped");
  }
}

void NeverSoftware() {
  const std::string why = Refused("no-hardware");
  Has(why, "low-latency rate control: ");
  Has(why, "hardware encoder: ");
  Has(why, "-12908");
  Expect(Counters().sessions_created == 0, "a session of the software encoder");
  Expect(Counters().sessions_refused == 2, "a missing encoder is requested again");
}

void TooLarge() {
  Has(Refused("max-size:128x128"), "no such encoder");
}

void HevcBeforeMacos14() {
  Settings settings = Small();
  settings.codec = Codec::kHevc;
  Has(Opened("macos:13", settings), "hardware encoder, encoder com.apple.videotoolbox");
  Has(Opened("macos:14", settings), "low-latency rate control, encoder com.apple.videotoolbox");
}

void OtherProfiles() {
  for (const Profile profile : {Profile::kMain, Profile::kConstrainedBaseline}) {
    Settings settings = Small();
    settings.profile = profile;
    vt_shim_reset_counters();
    Has(Opened("", settings), "hardware encoder, ");
    Expect(Counters().sessions_created == 1, "low latency is requested for another profile");
  }
  Settings settings = Small();
  settings.profile = Profile::kMain;
  Has(Refused("unsupported:avc:ProfileLevel", settings), "ProfileLevel = H264_Main_AutoLevel");
  Has(Opened("unsupported:rtvc:ProfileLevel"), "ProfileLevel: -12900");
}

// No refused property ends a stream, even if the encoder then reorders frames.
void EveryPropertyRefused() {
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

void Unreported() {
  Has(Opened("no-llrc;unset:EncoderID;unset:UsingHardwareAcceleratedVideoEncoder"),
      "encoder unnamed, hardware not reported");
  Has(Opened("unset:EncoderID"), "low latency not confirmed");
}

void Busy() {
  for (const char *status : {"-12915", "-12907"}) {
    vt_shim_reset_counters();
    const std::string notes = Opened(std::string("refuse:1-4:") + status);
    Has(notes, "no encoder is free");
    Expect(Counters().sessions_refused == 4 && Counters().sessions_created == 1,
           "a busy encoder is not waited for");
    vt_shim_reset_counters();
    Has(Refused(std::string("refuse:*:") + status), "after 4 attempts");
    Expect(Counters().sessions_refused == 8, "the wait is not bounded as said");
  }
  // Low latency is busy, and the other one does not exist.
  vt_shim_reset_counters();
  Has(Opened("refuse:1:-12915;refuse:2:-12908"), "low-latency rate control, encoder");
}

// It is not part of the stream, which begins with a key frame of its own.
void WarmUp() {
  Recorder recorder;
  Encoder encoder(Small(), recorder, Hasty());
  Expect(Counters().frames_encoded == 1, "no frame is encoded on opening");
  Expect(recorder.answers() == 0 && recorder.reads() == 0, "the warm-up reaches the stream");
  EncodeOne(encoder, Small(), 0);
  EncodeOne(encoder, Small(), 1);
  encoder.Finish();
  Expect(recorder.packets().at(0).key && !recorder.packets().at(1).key,
         "no key frame at the start");
}

}  // namespace

void AddLadders(std::vector<Case> &cases) {
  cases.push_back({"low-latency rate control first", LowLatency});
  cases.push_back({"any hardware encoder without low latency", WithoutLowLatency});
  cases.push_back({"never the software encoder", NeverSoftware});
  cases.push_back({"a size that no encoder takes", TooLarge});
  cases.push_back({"HEVC before macOS 14", HevcBeforeMacos14});
  cases.push_back({"profiles beside High", OtherProfiles});
  cases.push_back({"properties that are not supported", EveryPropertyRefused});
  cases.push_back({"an encoder that does not report its identity", Unreported});
  cases.push_back({"busy encoders", Busy});
  cases.push_back({"the warm-up", WarmUp});
}

}  // namespace harness
