// Rewrites random parameter sets of H.264 with every field of the syntax, and compares them with
// those of a writer of the whole syntax for the same fields and the wanted VUI. Then rewrites
// random bytes, which must not crash.
#include <algorithm>
#include <cstdio>
#include <optional>
#include <random>
#include <utility>

#include "bitstream/nal_unit.h"
#include "bitstream/sps_vui.h"
#include "stress.h"

namespace {

using namespace stress;
using Bytes = std::vector<uint8_t>;

constexpr int kRounds = 40000;

class Fields {
 public:
  explicit Fields(uint64_t seed) : random_(seed) {}

  uint32_t Below(uint64_t bound) { return static_cast<uint32_t>(random_() % bound); }
  bool Coin() { return Below(2) != 0; }
  // A random flag, which is also written.
  bool Coin(BitWriter &bits) {
    const bool coin = Coin();
    bits.Flag(coin);
    return coin;
  }
  // Mostly small, sometimes with a long code.
  uint32_t Any() { return Below(5) == 0 ? Below(1ull << (1 + Below(31))) : Below(40); }

 private:
  std::mt19937_64 random_;
};

// se(v) of a code number: half of the codes are negative, all are legal.
void WriteSigned(BitWriter &bits, Fields &fields) {
  bits.Unsigned(fields.Any());
}

// Of deltas, so that the list ends early, late or not at all.
void WriteScalingList(BitWriter &bits, Fields &fields, int size) {
  int last = 8;
  int next = 8;
  for (int i = 0; i < size; ++i) {
    if (next != 0) {
      const int delta = fields.Below(30) == 0 ? -last : static_cast<int>(fields.Below(256)) - 128;
      bits.Unsigned(delta > 0 ? static_cast<uint32_t>(2 * delta - 1)
                              : static_cast<uint32_t>(-2 * delta));
      next = (last + delta + 256) % 256;
    }
    if (next != 0) last = next;
  }
}

// Everything ahead of vui_parameters_present_flag. Returns max_num_ref_frames.
uint32_t WriteHead(BitWriter &bits, Fields &fields) {
  static const std::vector<uint32_t> profiles{66, 77, 88,  100, 110, 122, 244, 44,
                                              83, 86, 118, 128, 138, 139, 134, 135};
  const uint32_t profile = profiles[fields.Below(profiles.size())];
  bits.Bits(profile, 8);
  bits.Bits(fields.Below(64) << 2, 8);
  bits.Bits(fields.Below(256), 8);
  bits.Unsigned(fields.Below(32));
  if (profile != 66 && profile != 77 && profile != 88) {
    const uint32_t chroma = fields.Below(4);
    bits.Unsigned(chroma);
    if (chroma == 3) fields.Coin(bits);
    bits.Unsigned(fields.Below(7));
    bits.Unsigned(fields.Below(7));
    fields.Coin(bits);
    const bool scaling = fields.Coin(bits);
    for (int i = 0; scaling && i < (chroma == 3 ? 12 : 8); ++i) {
      if (fields.Coin(bits)) WriteScalingList(bits, fields, i < 6 ? 16 : 64);
    }
  }
  bits.Unsigned(fields.Below(13));
  const uint32_t order = fields.Below(3);
  bits.Unsigned(order);
  if (order == 0) bits.Unsigned(fields.Below(13));
  if (order == 1) {
    fields.Coin(bits);
    WriteSigned(bits, fields);
    WriteSigned(bits, fields);
    const uint32_t count = fields.Below(4) == 0 ? fields.Below(256) : fields.Below(4);
    bits.Unsigned(count);
    for (uint32_t i = 0; i < count; ++i) WriteSigned(bits, fields);
  }
  const uint32_t references = fields.Below(17);
  bits.Unsigned(references);
  fields.Coin(bits);
  bits.Unsigned(fields.Any());
  bits.Unsigned(fields.Any());
  const bool frames = fields.Coin(bits);
  if (!frames) fields.Coin(bits);
  fields.Coin(bits);
  const bool cropping = fields.Coin(bits);
  for (int i = 0; cropping && i < 4; ++i) bits.Unsigned(fields.Any());
  return references;
}

void WriteHrd(BitWriter &bits, Fields &fields, bool present) {
  bits.Flag(present);
  if (!present) return;
  const uint32_t count = fields.Below(32);
  bits.Unsigned(count);
  bits.Bits(fields.Below(256), 8);
  for (uint32_t i = 0; i <= count; ++i) {
    bits.Unsigned(fields.Any());
    bits.Unsigned(fields.Any());
    fields.Coin(bits);
  }
  bits.Bits(fields.Below(1 << 20), 20);
}

// The parts of an encoder's VUI that stay, and whether it has one.
struct Kept {
  bool vui;
  uint64_t overscan;  // seeds
  uint64_t hrd;
  bool restriction;
  uint64_t vectors;
};

void WriteOverscan(BitWriter &bits, const Kept &kept) {
  Fields fields(kept.overscan);
  const bool present = kept.vui && fields.Coin();
  bits.Flag(present);
  if (present) fields.Coin(bits);
}

void WriteHrds(BitWriter &bits, const Kept &kept) {
  Fields fields(kept.hrd);
  const bool nal = kept.vui && fields.Coin();
  const bool vcl = kept.vui && fields.Coin();
  WriteHrd(bits, fields, nal);
  WriteHrd(bits, fields, vcl);
  if (nal || vcl) fields.Coin(bits);
  bits.Flag(kept.vui && fields.Coin());
}

void WriteVectors(BitWriter &bits, const Kept &kept) {
  Fields fields(kept.vectors);
  const bool own = kept.vui && kept.restriction;
  bits.Flag(!own || fields.Coin());
  for (const uint32_t usual : {0u, 0u, 15u, 15u}) bits.Unsigned(own ? fields.Below(17) : usual);
}

void WriteOldVui(BitWriter &bits, Fields &fields, const Kept &kept) {
  bits.Flag(kept.vui);
  if (!kept.vui) return;
  if (fields.Coin(bits)) {
    const uint32_t idc = fields.Coin() ? 255 : fields.Below(255);
    bits.Bits(idc, 8);
    if (idc == 255) bits.Bits(fields.Any(), 32);
  }
  WriteOverscan(bits, kept);
  if (fields.Coin(bits)) {
    bits.Bits(fields.Below(16), 4);
    if (fields.Coin(bits)) bits.Bits(fields.Below(1 << 24), 24);
  }
  const bool chroma = fields.Coin(bits);
  for (int i = 0; chroma && i < 2; ++i) bits.Unsigned(fields.Below(6));
  if (fields.Coin(bits)) {
    bits.Bits(fields.Any(), 32);
    bits.Bits(fields.Any(), 32);
    fields.Coin(bits);
  }
  WriteHrds(bits, kept);
  bits.Flag(kept.restriction);
  if (!kept.restriction) return;
  WriteVectors(bits, kept);
  bits.Unsigned(fields.Below(17));
  bits.Unsigned(fields.Below(17));
}

void WriteWantedVui(BitWriter &bits, const H264Vui &vui, uint32_t aspect_idc, const Kept &kept,
                    uint32_t references) {
  bits.Bits(0b11, 2);
  bits.Bits(aspect_idc, 8);
  if (aspect_idc == 255) {
    bits.Bits(static_cast<uint32_t>(vui.aspect.numerator), 16);
    bits.Bits(static_cast<uint32_t>(vui.aspect.denominator), 16);
  }
  WriteOverscan(bits, kept);
  bits.Bits(0b1101, 4);
  bits.Flag(vui.colour.full_range);
  bits.Flag(true);
  bits.Bits(static_cast<uint32_t>(vui.colour.primaries), 8);
  bits.Bits(static_cast<uint32_t>(vui.colour.transfer), 8);
  bits.Bits(static_cast<uint32_t>(vui.colour.matrix), 8);
  bits.Flag(vui.chroma_location != 0);
  for (int i = 0; vui.chroma_location != 0 && i < 2; ++i) {
    bits.Unsigned(static_cast<uint32_t>(vui.chroma_location));
  }
  bits.Flag(vui.framerate.has_value());
  if (vui.framerate) {
    bits.Bits(static_cast<uint32_t>(vui.framerate->denominator), 32);
    bits.Bits(2 * static_cast<uint32_t>(vui.framerate->numerator), 32);
    bits.Flag(true);
  }
  WriteHrds(bits, kept);
  bits.Flag(true);
  WriteVectors(bits, kept);
  bits.Unsigned(0);
  bits.Unsigned(references);
}

Bytes Unit(BitWriter &&bits) {
  return AddEmulationPrevention(std::move(bits).Finish());
}

H264Vui RandomVui(Fields &fields, uint32_t &aspect_idc) {
  static const std::vector<std::pair<Fraction, uint32_t>> aspects{
      {{1, 1}, 1}, {{4, 3}, 14}, {{160, 99}, 13}, {{7, 5}, 255}, {{65535, 1}, 255}};
  const auto &[aspect, idc] = aspects[fields.Below(aspects.size())];
  aspect_idc = idc;
  const auto point = [&] { return static_cast<int>(fields.Below(256)); };
  const auto term = [&] { return static_cast<int>(1 + fields.Below(0x7fffffff)); };
  const ColourDescription colour{point(), point(), point(), fields.Coin()};
  H264Vui vui{aspect, colour, static_cast<int>(fields.Below(6)), std::nullopt};
  if (fields.Coin()) vui.framerate = Fraction{term(), term()};
  return vui;
}

Bytes Concatenate(const std::vector<Bytes> &parts) {
  Bytes all;
  for (const Bytes &part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

void RandomSets() {
  int escaped = 0;
  for (int round = 0; round < kRounds; ++round) {
    Fields fields(static_cast<uint64_t>(round));
    const uint64_t head = fields.Below(1u << 31);
    const Kept kept{fields.Below(4) != 0, fields.Below(1u << 31), fields.Below(1u << 31),
                    fields.Coin(), fields.Below(1u << 31)};
    uint32_t aspect_idc = 0;
    const H264Vui vui = RandomVui(fields, aspect_idc);
    const uint32_t header = fields.Coin() ? 0x67 : 0x27;

    BitWriter old_bits;
    old_bits.Bits(header, 8);
    Fields old_head(head);
    WriteHead(old_bits, old_head);
    WriteOldVui(old_bits, fields, kept);
    const Bytes old_unit = Unit(std::move(old_bits));

    BitWriter wanted_bits;
    wanted_bits.Bits(header, 8);
    Fields wanted_head(head);
    const uint32_t references = WriteHead(wanted_bits, wanted_head);
    WriteWantedVui(wanted_bits, vui, aspect_idc, kept, references);
    const Bytes wanted = Unit(std::move(wanted_bits));

    Check(RewriteSps(old_unit, vui) == wanted, "a parameter set is not rewritten as it should be");
    Check(RewriteSps(wanted, vui) == wanted, "rewriting a parameter set again changes it");
    escaped += RemoveEmulationPrevention(wanted).size() < wanted.size() ? 1 : 0;

    // In an access unit, between start codes of both lengths; units after a slice stay.
    const Bytes delimiter{0, 0, 0, 1, 0x09, 0xf0, 0, 0, 0, 1};
    const Bytes pps{0, 0, 1, 0x68, 0xce, 0x3c, 0x80, 0, 0, 0, 1};
    const Bytes slice{0, 0, 0, 0, 1, 0x65, 0x88, 0x84, 0x21, 0, 0, 1};
    const auto stream = [&](const Bytes &sps) {
      return Concatenate({delimiter, sps, pps, sps, slice, old_unit});
    };
    if (old_unit != wanted) {
      Check(RewriteAccessUnit(stream(old_unit), vui) == stream(wanted),
            "an access unit is not rewritten as it should be");
    }
    Check(!RewriteAccessUnit(stream(wanted), vui), "an access unit is rewritten for nothing");

    // Damaged: a result, if there is one, must be readable.
    Bytes damaged = old_unit;
    for (uint32_t i = 1 + fields.Below(4); i > 0; --i) {
      damaged[fields.Below(damaged.size())] ^= static_cast<uint8_t>(1u << fields.Below(8));
    }
    if (fields.Coin()) damaged.resize(fields.Below(damaged.size() + 1));
    if (const auto answer = RewriteSps(damaged, vui)) {
      Check(RewriteSps(*answer, vui) == answer, "what was written cannot be read");
    }
    RewriteAccessUnit(stream(damaged), vui);
  }
  Check(escaped > 100, "hardly any parameter set needed emulation prevention");
}

void AnyBytes() {
  Fields fields(7);
  uint32_t aspect_idc = 0;
  for (int round = 0; round < kRounds; ++round) {
    Bytes bytes(fields.Below(200));
    for (uint8_t &byte : bytes) {
      byte = static_cast<uint8_t>(fields.Below(3) == 0 ? fields.Below(256) : fields.Below(4));
    }
    const H264Vui vui = RandomVui(fields, aspect_idc);
    RewriteAccessUnit(bytes, vui);
    if (!bytes.empty()) bytes.front() = 0x67;
    RewriteSps(bytes, vui);
    Check(RemoveEmulationPrevention(AddEmulationPrevention(bytes)) == bytes,
          "emulation prevention does not come off again");
  }
  Check(!RewriteSps({}, RandomVui(fields, aspect_idc)), "nothing is no parameter set");
}

}  // namespace

void ParameterSets() {
  RandomSets();
  AnyBytes();
  std::printf("parameter sets: %d\n", kRounds);
}
