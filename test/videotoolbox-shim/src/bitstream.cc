#include "bitstream.h"

#include <bit>

#include "violation.h"

namespace vt_shim {
namespace {

// nal_unit_type: H.264 section 7.3.1, HEVC section 7.3.1.2.
int TypeOf(CMVideoCodecType codec, NalUnit unit) {
  return codec == kCMVideoCodecType_H264 ? unit[0] & 0x1f : (unit[0] >> 1) & 0x3f;
}

class BitWriter {
 public:
  void Bit(bool bit) {
    if (used_ == 0) {
      bytes_.push_back(0);
    }
    bytes_.back() = static_cast<uint8_t>(bytes_.back() | (bit ? 0x80 >> used_ : 0));
    used_ = (used_ + 1) % 8;
  }
  // Unsigned Exp-Golomb code.
  void Ue(unsigned value) {
    const int bits = std::bit_width(value + 1);
    for (int index = 2 * bits - 2; index >= 0; --index) {
      Bit(index < bits && (((value + 1) >> index) & 1) != 0);
    }
  }
  const std::vector<uint8_t> &bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
  int used_ = 0;
};

// Without emulation prevention bytes.
std::vector<uint8_t> Unescape(NalUnit payload) {
  std::vector<uint8_t> bytes;
  int zeros = 0;
  for (const uint8_t byte : payload) {
    if (zeros >= 2 && byte == 3) {
      zeros = 0;
      continue;
    }
    zeros = byte == 0 ? zeros + 1 : 0;
    bytes.push_back(byte);
  }
  return bytes;
}

}  // namespace

std::vector<NalUnit> SplitAnnexB(std::span<const uint8_t> stream) {
  std::vector<NalUnit> units;
  size_t start = 0;
  bool inside = false;
  const auto end_unit = [&](size_t end) {
    while (end > start && stream[end - 1] == 0) {
      --end;
    }
    if (inside && end > start) {
      units.push_back(stream.subspan(start, end - start));
    }
  };
  for (size_t at = 0; at + 3 <= stream.size(); ++at) {
    if (stream[at] == 0 && stream[at + 1] == 0 && stream[at + 2] == 1) {
      end_unit(at);
      start = at + 3;
      inside = true;
      at += 2;
    }
  }
  end_unit(stream.size());
  return units;
}

bool IsParameterSet(CMVideoCodecType codec, NalUnit unit) {
  const int type = TypeOf(codec, unit);
  return codec == kCMVideoCodecType_H264 ? type == 7 || type == 8 : type >= 32 && type <= 34;
}

bool IsPictureParameterSet(CMVideoCodecType codec, NalUnit unit) {
  return TypeOf(codec, unit) == (codec == kCMVideoCodecType_H264 ? 8 : 34);
}

std::vector<uint8_t> WithLengths(std::span<const NalUnit> units, int length_size) {
  std::vector<uint8_t> bytes;
  for (const NalUnit unit : units) {
    if (length_size < 4 && unit.size() >> (8 * length_size) != 0) {
      Violation("script: nal-length is too small for a unit of " + std::to_string(unit.size()) +
                " bytes");
    }
    for (int index = length_size - 1; index >= 0; --index) {
      bytes.push_back(static_cast<uint8_t>(unit.size() >> (8 * index)));
    }
    bytes.insert(bytes.end(), unit.begin(), unit.end());
  }
  return bytes;
}

std::vector<uint8_t> CopyPictureParameterSet(CMVideoCodecType codec, NalUnit set, unsigned id) {
  const size_t header = codec == kCMVideoCodecType_H264 ? 1 : 2;
  const std::vector<uint8_t> payload = Unescape(set.subspan(header));
  if (payload.empty() || (payload[0] & 0x80) == 0) {
    Violation("extra-sets: the encoder's picture parameter set has an id other than 0");
  }
  size_t bits = payload.size() * 8;
  while (((payload[(bits - 1) / 8] >> (7 - (bits - 1) % 8)) & 1) == 0) {
    --bits;  // up to the stop bit
  }
  BitWriter writer;
  writer.Ue(id);
  for (size_t bit = 1; bit < bits; ++bit) {
    writer.Bit(((payload[bit / 8] >> (7 - bit % 8)) & 1) != 0);
  }
  std::vector<uint8_t> unit(set.begin(), set.begin() + static_cast<std::ptrdiff_t>(header));
  int zeros = 0;
  for (const uint8_t byte : writer.bytes()) {
    if (zeros >= 2 && byte <= 3) {
      unit.push_back(3);
      zeros = 0;
    }
    zeros = byte == 0 ? zeros + 1 : 0;
    unit.push_back(byte);
  }
  return unit;
}

}  // namespace vt_shim
