#include "bitstream.h"

#include <algorithm>
#include <bitset>
#include <string>

#include "object.h"

namespace vt_shim {
namespace {

// nal_unit_type: H.264 section 7.3.1, HEVC section 7.3.1.2.
int TypeOf(CMVideoCodecType codec, NalUnit unit) {
  return codec == kCMVideoCodecType_H264 ? unit[0] & 0x1f : (unit[0] >> 1) & 0x3f;
}

}  // namespace

std::vector<NalUnit> SplitAnnexB(NalUnit stream) {
  static constexpr uint8_t kStartCode[] = {0, 0, 1};
  const auto next = [](NalUnit bytes) { return std::ranges::search(bytes, kStartCode); };
  std::vector<NalUnit> units;
  for (auto start = next(stream); !start.empty();) {
    const NalUnit rest(start.end(), stream.end());
    start = next(rest);
    NalUnit unit(rest.begin(), start.begin());
    while (!unit.empty() && unit.back() == 0) unit = unit.first(unit.size() - 1);
    units.push_back(unit);
  }
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
  std::string bits;
  for (const uint8_t byte : set.subspan(header)) bits += std::bitset<8>(byte).to_string();
  // The id is the first element, an Exp-Golomb code: "1" for 0. A stop bit ends the last byte.
  const std::string code = std::bitset<8>(id + 1).to_string();
  const std::string digits = code.substr(code.find('1'));
  bits = std::string(digits.size() - 1, '0') + digits + bits.substr(1, bits.rfind('1'));
  bits.resize((bits.size() + 7) / 8 * 8, '0');
  std::vector<uint8_t> unit(set.begin(), set.begin() + static_cast<std::ptrdiff_t>(header));
  for (size_t at = 0; at < bits.size(); at += 8) {
    unit.push_back(static_cast<uint8_t>(std::bitset<8>(bits, at, 8).to_ulong()));
  }
  // Emulation prevention is not written, nor understood: the sets of these encoders need none.
  constexpr uint8_t kZeros[] = {0, 0};
  if ((set[header] & 0x80) == 0 || !std::ranges::search(set, kZeros).empty() ||
      !std::ranges::search(unit, kZeros).empty()) {
    Violation("extra-sets: the encoder's picture parameter set cannot be copied");
  }
  return unit;
}

}  // namespace vt_shim
