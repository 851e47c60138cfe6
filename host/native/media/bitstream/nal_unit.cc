#include "nal_unit.h"

#include <bit>
#include <utility>

namespace vsockenc {
namespace {

// Index of the next 00 00 01 (`or_zero`: or 00 00 00); the stream's size if there is none.
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

uint32_t BitReader::Bits(int count) {
  uint32_t value = 0;
  for (int i = 0; i < count; ++i) {
    if (position_ / 8 >= bytes_.size()) failed_ = true;
    if (failed_) return 0;
    const uint32_t bit = bytes_[position_ / 8] >> (7 - position_ % 8) & 1u;
    value = value << 1 | bit;
    ++position_;
  }
  return value;
}

uint32_t BitReader::Unsigned() {
  int zeros = 0;
  while (!Flag()) {
    if (failed_ || ++zeros > 31) {
      failed_ = true;
      return 0;
    }
  }
  return ((1u << zeros) - 1) + Bits(zeros);
}

int64_t BitReader::Signed() {
  const int64_t code = Unsigned();
  return code % 2 != 0 ? (code + 1) / 2 : -(code / 2);
}

uint32_t BitReader::UnsignedUpTo(uint32_t most) {
  const uint32_t value = Unsigned();
  if (value > most) failed_ = true;
  return failed_ ? 0 : value;
}

bool BitReader::AtTrailingBits() const {
  if (failed_ || position_ / 8 + 1 != bytes_.size()) return false;
  const int left = 8 - static_cast<int>(position_ % 8);
  return (bytes_.back() & ((1u << left) - 1)) == 1u << (left - 1);
}

void BitWriter::Bits(uint32_t value, int count) {
  for (int i = count - 1; i >= 0; --i) {
    if (position_ % 8 == 0) bytes_.push_back(0);
    const uint32_t bit = value >> i & 1u;
    bytes_.back() = static_cast<uint8_t>(bytes_.back() | bit << (7 - position_ % 8));
    ++position_;
  }
}

void BitWriter::Unsigned(uint32_t value) {
  const int length = std::bit_width(value + 1);
  Bits(0, length - 1);
  Bits(value + 1, length);
}

void BitWriter::Copy(std::span<const uint8_t> from, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) Bits(from[i / 8] >> (7 - i % 8) & 1u, 1);
}

std::vector<uint8_t> BitWriter::Finish() && {
  Bits(1, 1);
  return std::move(bytes_);
}

}  // namespace vsockenc
