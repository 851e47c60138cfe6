// Streams without errors, and with events that VideoToolbox may cause at any time.
#include <algorithm>
#include <random>

#include "bitstream/nal_unit.h"
#include "bitstream/sps_vui.h"
#include "harness.h"
#include "status.h"

namespace harness {
namespace {

constexpr char kSet[] = "streams";

// Whose key frames are those that are due, with their parameter sets.
void Encodes(const char *script, uint32_t frames, const Settings &settings = Small()) {
  Stream stream(script, settings);
  stream.EncodeAll(0, frames);
  const Events events = stream.Finish();
  Expect(events.answered.size() == frames, "Finish returns with frames that have no answer");
  stream.ExpectWhole(frames);
  for (const auto &[number, packet] : events.packets) {
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
  Expect(counters.sessions_created == 1, "another number of sessions");
  Expect(counters.untagged_frames == 0, "frames without colour attachments");
  Expect(counters.converted_frames == 0, "frames that the encoder has to convert");
  Expect(counters.transfers == frames, "RGB is not converted by VideoToolbox");
}

TEST(of_300_frames) {
  Settings settings = Small();
  settings.keyframe_interval = 60;
  Encodes("", 300, settings);
}

TEST(of_hevc) {
  Settings settings = Small();
  settings.codec = Codec::kHevc;
  settings.keyframe_interval = 20;
  Encodes("", 50, settings);
}

TEST(with_callbacks_before_encode_returns) {
  Encodes("early:*", 30);
}

TEST(with_an_encode_that_blocks) {
  Encodes("block:%4:60", 12);
}

TEST(parameter_sets_with_the_configured_description) {
  Settings settings = Small();
  settings.pixel_aspect_ratio = {4, 3};
  settings.colour = {.primaries = 9, .transfer = 16, .matrix = 6, .full_range = true};
  Stream stream("", settings);
  stream.EncodeOne(0);
  const auto packets = stream.Finish().packets;
  // Writing the VUI again changes nothing if it is there already.
  Expect(!RewriteAccessUnit(packets.at(0).bytes, VuiOf(settings)), "the VUI is not as configured");
  const auto frames = Decode(Codec::kH264, packets);
  Expect(frames[0]->color_primaries == 9 && frames[0]->color_trc == 16 &&
             frames[0]->colorspace == 6 && frames[0]->color_range == AVCOL_RANGE_JPEG &&
             frames[0]->sample_aspect_ratio.num == 4 && frames[0]->sample_aspect_ratio.den == 3,
         "a decoder sees another description");
}

// The source is drawn over as soon as it may be.
TEST(a_source_is_free_after_its_read_event) {
  constexpr size_t kBytes = 160 * 120 * 4;
  const stress::Memory memory(kBytes);
  Stream stream("delay:*:30");
  stream.on_read = [&] { memory.Write(0, std::vector<uint8_t>(kBytes, 0xff)); };
  const auto layout = stress::Layout(*stream.format, 160, 120, 0, 0);
  for (uint32_t i = 0; i < 8; ++i) {
    Staging staging;
    const auto drawn = Draw(*stream.format, 160, 120, static_cast<int>(i));
    const uint8_t *pixels = drawn->Read(staging).planes[0].data;
    memory.Write(0, {pixels, pixels + kBytes});
    const std::vector<std::vector<Extent>> extents{{{memory.fd(), 0, kBytes}}};
    stream.Encode(i, std::make_shared<const Picture>(layout, extents, std::make_shared<Budget>(1)));
    Expect(stream.events().read.size() == i + 1, "Encode returns with a frame that is not read");
  }
  stream.ExpectWhole(8);
}

TEST(two_frames_in_flight_at_the_most) {
  Stream stream("delay:2+:20");
  for (uint32_t i = 0; i < 10; ++i) {
    stream.EncodeOne(i);
    Expect(stream.events().answered.size() + 2 >= i + 1,
           "more than two frames are with VideoToolbox");
  }
  stream.ExpectWhole(10);
}

TEST(forced_key_frames) {
  Stream stream;
  for (uint32_t i = 0; i < 20; ++i) stream.EncodeOne(i, i == 7 || i == 8 || i == 15);
  for (const auto &[number, packet] : stream.Finish().packets) {
    const bool asked = number == 0 || number == 7 || number == 8 || number == 15;
    Expect(packet.key == asked, "a key frame is missing, or was not requested");
  }
}

// Frames are counted from 1, the warm-up included: frame n of the stream is the script's n + 2.
TEST(drops_by_videotoolbox) {
  Stream stream("null:7;drop:9;null:14");
  for (uint32_t i = 0; i < 20; ++i) {
    stream.EncodeOne(i, i == 12);
    stream.encoder.Finish();
  }
  const auto [read, dropped, answered, packets, failed, notes] = stream.events();
  Expect(dropped == std::vector<uint32_t>({5, 7, 12}), "drops are not reported");
  Expect(packets.size() == 17, "frames are lost with them");
  Expect(packets.at(13).key, "the dropped key frame is not repeated");
  Expect(!packets.at(6).key, "a drop costs a key frame");
  Expect(Counters().sessions_created == 1, "a drop costs a session");
  Decode(Codec::kH264, packets);
}

TEST(bit_rate_and_interval_in_midstream) {
  Settings settings = Small();
  settings.rates = {3'000'000, 3'000'000, 3'000'000};
  Stream stream("", settings);
  const auto bytes = [&](uint32_t from) {
    stream.EncodeAll(from, from + 60);
    stream.encoder.Finish();
    size_t sum = 0;
    for (const auto &[number, packet] : stream.events().packets) {
      if (number >= from + 10) sum += packet.bytes.size();
    }
    return sum;
  };
  const size_t many = bytes(0);
  stream.encoder.SetRates({200'000, 200'000, 200'000}, 1000);
  const size_t few = bytes(60);
  Expect(few * 3 < many, "the bit rate does not fall: " + std::to_string(many) + " bytes, then " +
                             std::to_string(few));
  Expect(Counters().sessions_created == 1, "another bit rate costs a session");
  stream.encoder.SetRates({200'000, 200'000, 200'000}, 5);
  stream.EncodeAll(120, 130);
  const auto packets = stream.Finish().packets;
  size_t keys = 0;
  for (uint32_t i = 120; i < 130; ++i) keys += packets.at(i).key;
  Expect(keys == 2, "another key-frame interval does not take effect");
}

// A change of size is another encoder, made while the old one still lives.
TEST(two_encoders_at_a_time) {
  Settings large = Small();
  large.width = 320;
  large.height = 240;
  auto one = std::make_unique<Stream>();
  one->EncodeOne(0);
  Stream other("", large);
  other.EncodeOne(0);
  one->ExpectWhole(1);
  one.reset();
  other.EncodeOne(1);
  other.ExpectWhole(2);
}

// --- samples in every shape that VideoToolbox may give them

std::map<uint32_t, Packet> Encoded(Codec codec, const std::string &script) {
  Settings settings = Small();
  settings.codec = codec;
  settings.keyframe_interval = 4;
  Stream stream(script, settings);
  stream.EncodeAll(0, 9);
  stream.ExpectWhole(9);
  Expect(Counters().sessions_created == 1, "the session did not last");
  return stream.events().packets;
}

// Whatever the shape, the stream is the same, byte by byte.
void SameIn(Codec codec, const std::string &script) {
  const auto usual = Encoded(codec, "");
  const auto shaped = Encoded(codec, script);
  for (const auto &[number, packet] : usual) {
    Expect(shaped.at(number).key == packet.key, "a key frame is not recognised, or wrongly");
    Expect(shaped.at(number).bytes == packet.bytes, "the stream differs");
  }
}

TEST(every_parameter_set) {
  for (const Codec codec : {Codec::kH264, Codec::kHevc}) {
    const int pps = codec == Codec::kH264 ? 8 : 34;
    const auto packets = Encoded(codec, "extra-sets:2");
    for (const auto &[number, packet] : packets) {
      const auto found = std::ranges::count(Types(codec, packet.bytes), pps);
      Expect(found == (number % 4 == 0 ? 3 : 0), "not every parameter set ahead of each key frame");
    }
  }
}

bool Accepts(const std::vector<uint8_t> &bytes, size_t length_size) {
  try {
    size_t sum = 0;
    for (const auto unit : NalUnits(bytes, length_size)) {
      Expect(!unit.empty() && unit.data() >= bytes.data() &&
                 unit.data() + unit.size() <= bytes.data() + bytes.size(),
             "a NAL unit outside the bytes");
      sum += unit.size() + length_size;
    }
    Expect(sum == bytes.size(), "bytes are left over");
    return true;
  } catch (const VideoToolboxError &) {
    return false;
  }
}

TEST(hostile_lengths) {
  Expect(Accepts({0, 0, 0, 1, 9, 0, 0, 0, 2, 7, 7}, 4), "a good access unit is refused");
  Expect(!Accepts({0, 0, 0, 2, 9}, 4), "a length beyond the end is taken");
  Expect(!Accepts({0xff, 0xff, 0xff, 0xff, 9}, 4), "a length of 4 GiB is taken");
  Expect(!Accepts({0, 0, 0, 0, 0, 0, 0, 1, 9}, 4), "an empty NAL unit is taken");
  Expect(!Accepts({0, 0, 0, 1, 9, 0, 0}, 4), "half a length is taken");
  std::mt19937 random(1);
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<uint8_t> bytes(random() % 12);
    for (uint8_t &byte : bytes) byte = static_cast<uint8_t>(random() % 4);
    accepted += Accepts(bytes, 1 + random() % 4);
  }
  Expect(accepted > 1000, "hardly anything was legal: nothing has been tested");
}

[[maybe_unused]] const bool added = [] {
  for (const Codec codec : {Codec::kH264, Codec::kHevc}) {
    const std::string name = codec == Codec::kH264 ? "H.264: " : "HEVC: ";
    for (const char *script : {"split:1", "split:7", "split:1000", "nal-length:2", "nal-length:3",
                               "notsync:absent", "notsync:false", "notsync:no-array", "dts:valid",
                               "dts:invalid", "split:5;nal-length:3"}) {
      Add(kSet, name + script, [codec, script] { SameIn(codec, script); });
    }
  }
  return true;
}();

}  // namespace
}  // namespace harness
