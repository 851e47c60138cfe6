// Streams without errors, and with events that VideoToolbox may cause at any time.
#include <algorithm>

#include "bitstream/nal_unit.h"
#include "bitstream/sps_vui.h"
#include "harness.h"

namespace harness {
namespace {

constexpr double kAlike = 35;  // dB

void ExpectPictures(const Settings &settings, const std::map<uint32_t, Packet> &packets,
                    const std::string &format = "BGRx") {
  const std::vector<FramePointer> pictures = Decode(settings.codec, packets);
  Expect(pictures.size() == packets.size(), "not a picture for each packet");
  size_t i = 0;
  for (const auto &[number, packet] : packets) {
    const FramePointer expected = Expected(FormatNamed(format), settings.width, settings.height,
                                           static_cast<int>(number), settings.colour.full_range);
    const double likeness = Likeness(*pictures[i++], *expected);
    Expect(likeness > kAlike, "frame " + std::to_string(number) +
                                  " shows something else: " + std::to_string(likeness) + " dB");
  }
}

void Stream(Settings settings, uint32_t frames, const char *script, size_t sessions = 1) {
  vt_shim_set_script(script);
  Recorder recorder;
  {
    Encoder encoder(settings, recorder, Hasty());
    for (uint32_t i = 0; i < frames; ++i) EncodeOne(encoder, settings, i);
    encoder.Finish();
    Expect(recorder.answers() == frames, "Finish returns with frames that have no answer");
  }
  const auto packets = recorder.packets();
  Expect(packets.size() == frames, "a frame became no packet");
  ExpectPictures(settings, packets);
  for (const auto &[number, packet] : packets) {
    const bool due = number % static_cast<uint32_t>(settings.keyframe_interval) == 0;
    Expect(packet.key == due,
           "frame " + std::to_string(number) + " is a key frame wrongly, or not");
    const auto types = Types(settings.codec, packet.bytes);
    const int sps = settings.codec == Codec::kH264 ? 7 : 33;
    const int pps = sps + 1;
    Expect((std::ranges::count(types, sps) == 1 && std::ranges::count(types, pps) >= 1) == due,
           "parameter sets belong ahead of key frames alone");
  }
  const vt_shim_counters counters = Counters();
  Expect(counters.sessions_created == sessions, "another number of sessions");
  Expect(counters.untagged_frames == 0, "frames without colour attachments");
  Expect(counters.converted_frames == 0, "frames that the encoder has to convert");
  Expect(counters.transfers == frames, "RGB is not converted by VideoToolbox");
}

void LongStream() {
  Settings settings = Small();
  settings.keyframe_interval = 60;
  Stream(settings, 300, "");
}

void Hevc() {
  Settings settings = Small();
  settings.codec = Codec::kHevc;
  settings.keyframe_interval = 20;
  Stream(settings, 50, "");
}

void ParameterSetsSayIt() {
  Settings settings = Small();
  settings.pixel_aspect_ratio = {4, 3};
  settings.colour = {.primaries = 9, .transfer = 16, .matrix = 6, .full_range = true};
  Recorder recorder;
  Encoder encoder(settings, recorder, Hasty());
  EncodeOne(encoder, settings, 0);
  encoder.Finish();
  const Packet packet = recorder.packets().at(0);
  // Writing the VUI again changes nothing if it is there already.
  Expect(!RewriteAccessUnit(packet.bytes, VuiOf(settings)), "the VUI is not as configured");
  const auto frames = Decode(Codec::kH264, recorder.packets());
  Expect(frames[0]->color_primaries == 9 && frames[0]->color_trc == 16 &&
             frames[0]->colorspace == 6 && frames[0]->color_range == AVCOL_RANGE_JPEG &&
             frames[0]->sample_aspect_ratio.num == 4 && frames[0]->sample_aspect_ratio.den == 3,
         "a decoder sees another description");
}

// Draws over the source as soon as it may.
class Overwriter : public Recorder {
 public:
  explicit Overwriter(const stress::Memory &memory) : memory_(memory) {}
  void On(SessionEvent event) override {
    if (std::holds_alternative<event::Read>(event)) {
      memory_.Write(0, std::vector<uint8_t>(160 * 120 * 4, 0xff));
    }
    Recorder::On(std::move(event));
  }

 private:
  const stress::Memory &memory_;
};

void SourceIsFreeAfterRead() {
  vt_shim_set_script("delay:*:30");
  const Settings settings = Small();
  const stress::Memory memory(160 * 120 * 4);
  Overwriter recorder(memory);
  const auto layout = stress::Layout(FormatNamed("BGRx"), 160, 120, 0, 0);
  Encoder encoder(settings, recorder, Hasty());
  for (uint32_t i = 0; i < 8; ++i) {
    Staging staging;
    const auto drawn = Draw(FormatNamed("BGRx"), 160, 120, static_cast<int>(i));
    const uint8_t *pixels = drawn->Read(staging).planes[0].data;
    memory.Write(0, {pixels, pixels + 160 * 120 * 4});
    encoder.Encode(
        {.frame = i,
         .source = std::make_shared<const Picture>(
             layout, std::vector<std::vector<Extent>>{{{memory.fd(), 0, 160 * 120 * 4}}}),
         .force_key = false,
         .queued = FrameClock::now()});
    Expect(recorder.reads() == i + 1, "Encode returns with a frame that is not read");
  }
  encoder.Finish();
  ExpectPictures(settings, recorder.packets());
}

void AtMostTwoInFlight() {
  vt_shim_set_script("delay:2+:20");
  const Settings settings = Small();
  Recorder recorder;
  Encoder encoder(settings, recorder, Hasty());
  for (uint32_t i = 0; i < 10; ++i) {
    EncodeOne(encoder, settings, i);
    Expect(recorder.answers() + 2 >= i + 1, "more than two frames are with VideoToolbox");
  }
  encoder.Finish();
  Expect(recorder.packets().size() == 10, "a frame is lost");
}

void ForcedKeyFrames() {
  const Settings settings = Small();
  Recorder recorder;
  Encoder encoder(settings, recorder, Hasty());
  for (uint32_t i = 0; i < 20; ++i) EncodeOne(encoder, settings, i, i == 7 || i == 8 || i == 15);
  encoder.Finish();
  for (const auto &[number, packet] : recorder.packets()) {
    const bool asked = number == 0 || number == 7 || number == 8 || number == 15;
    Expect(packet.key == asked, "a key frame is missing, or was not requested");
  }
}

// Frames are counted from 1, the warm-up included: frame n of the stream is the script's n + 2.
void Drops() {
  vt_shim_set_script("null:7;drop:9;null:14");
  const Settings settings = Small();
  Recorder recorder;
  Encoder encoder(settings, recorder, Hasty());
  for (uint32_t i = 0; i < 20; ++i) {
    EncodeOne(encoder, settings, i, i == 12);
    encoder.Finish();
  }
  Expect(recorder.dropped() == std::vector<uint32_t>({5, 7, 12}), "drops are not reported");
  Expect(recorder.packets().size() == 17, "frames are lost with them");
  Expect(recorder.packets().at(13).key, "the dropped key frame is not repeated");
  Expect(!recorder.packets().at(6).key, "a drop costs a key frame");
  Expect(Counters().sessions_created == 1, "a drop costs a session");
  Decode(Codec::kH264, recorder.packets());
}

void LiveRate() {
  Settings settings = Small();
  settings.rates = {3'000'000, 3'000'000, 3'000'000};
  Recorder recorder;
  Encoder encoder(settings, recorder, Hasty());
  const auto bytes = [&](uint32_t from) {
    for (uint32_t i = from; i < from + 60; ++i) EncodeOne(encoder, settings, i);
    encoder.Finish();
    size_t sum = 0;
    for (const auto &[number, packet] : recorder.packets()) {
      if (number >= from + 10) sum += packet.bytes.size();
    }
    return sum;
  };
  const size_t many = bytes(0);
  encoder.SetRates({200'000, 200'000, 200'000}, 1000);
  const size_t few = bytes(60);
  Expect(few * 3 < many, "the bit rate does not fall: " + std::to_string(many) + " bytes, then " +
                             std::to_string(few));
  Expect(Counters().sessions_created == 1, "another bit rate costs a session");
  encoder.SetRates({200'000, 200'000, 200'000}, 5);
  for (uint32_t i = 120; i < 130; ++i) EncodeOne(encoder, settings, i);
  encoder.Finish();
  size_t keys = 0;
  for (uint32_t i = 120; i < 130; ++i) keys += recorder.packets().at(i).key;
  Expect(keys == 2, "another key-frame interval does not take effect");
}

// A change of size is another encoder, made while the old one still lives.
void TwoAtATime() {
  Recorder first, second;
  Settings large = Small();
  large.width = 320;
  large.height = 240;
  auto one = std::make_unique<Encoder>(Small(), first, Hasty());
  EncodeOne(*one, Small(), 0);
  Encoder other(large, second, Hasty());
  EncodeOne(other, large, 0);
  one->Finish();
  one.reset();
  EncodeOne(other, large, 1);
  other.Finish();
  ExpectPictures(Small(), first.packets());
  ExpectPictures(large, second.packets());
}

}  // namespace

void AddStreams(std::vector<Case> &cases) {
  cases.push_back({"300 frames", LongStream});
  cases.push_back({"HEVC", Hevc});
  cases.push_back({"parameter sets with the configured description", ParameterSetsSayIt});
  cases.push_back({"callbacks before EncodeFrame returns", [] { Stream(Small(), 30, "early:*"); }});
  cases.push_back({"EncodeFrame blocks", [] { Stream(Small(), 12, "block:%4:60"); }});
  cases.push_back({"a source is free after its Read event", SourceIsFreeAfterRead});
  cases.push_back({"two frames in flight at the most", AtMostTwoInFlight});
  cases.push_back({"forced key frames", ForcedKeyFrames});
  cases.push_back({"drops by VideoToolbox", Drops});
  cases.push_back({"bit rate and interval in mid-stream", LiveRate});
  cases.push_back({"two encoders at a time", TwoAtATime});
}

}  // namespace harness
