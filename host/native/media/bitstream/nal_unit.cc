#include "nal_unit.h"

namespace vsockenc {
namespace {

// Index of the next 00 00 01, or of 00 00 00 too; the stream's size if there is none.
size_t FindZeros(std::span<const uint8_t> stream, size_t from, bool or_zero) {
  for (size_t i = from; i + 2 < stream.size(); ++i) {
    if (stream[i] != 0 || stream[i + 1] != 0) continue;
    if (stream[i + 2] == 1 || (or_zero && stream[i + 2] == 0)) return i;
  }
  return stream.size();
}

}  // namespace

std::optional<size_t> NextNalUnit(std::span<const uint8_t> stream, size_t from) {
  const size_t code = FindZeros(stream, from, false);
  if (code == stream.size()) return std::nullopt;
  return code + 3;
}

size_t NalUnitEnd(std::span<const uint8_t> stream, size_t begin) {
  size_t end = FindZeros(stream, begin, true);
  while (end > begin && stream[end - 1] == 0) --end;
  return end;
}

std::vector<uint8_t> RemoveEmulationPrevention(std::span<const uint8_t> unit) {
  std::vector<uint8_t> payload;
  payload.reserve(unit.size());
  int zeros = 0;
  for (const uint8_t byte : unit) {
    if (zeros >= 2 && byte == 3) {
      zeros = 0;
      continue;
    }
    zeros = byte == 0 ? zeros + 1 : 0;
    payload.push_back(byte);
  }
  return payload;
}

std::vector<uint8_t> AddEmulationPrevention(std::span<const uint8_t> payload) {
  std::vector<uint8_t> unit;
  unit.reserve(payload.size() + 8);
  int zeros = 0;
  for (const uint8_t byte : payload) {
    if (zeros >= 2 && byte <= 3) {
      unit.push_back(3);
      zeros = 0;
    }
    zeros = byte == 0 ? zeros + 1 : 0;
    unit.push_back(byte);
  }
  return unit;
}

}  // namespace vsockenc
