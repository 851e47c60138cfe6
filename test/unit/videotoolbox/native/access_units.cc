// Samples in every shape that VideoToolbox may give them.
#include <algorithm>
#include <random>

#include "access_unit.h"
#include "harness.h"
#include "status.h"

namespace harness {
namespace {

constexpr char kSet[] = "access units";

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
  vt_shim_reset_counters();
  const auto shaped = Encoded(codec, script);
  for (const auto &[number, packet] : usual) {
    Expect(shaped.at(number).key == packet.key, "a key frame is not recognised, or wrongly");
    Expect(shaped.at(number).bytes == packet.bytes, "the stream differs");
  }
}

TEST(every_parameter_set) {
  for (const Codec codec : {Codec::kH264, Codec::kHevc}) {
    const int pps = codec == Codec::kH264 ? 8 : 34;
    vt_shim_reset_counters();
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
