#include "bit_writer.h"

#include <bit>
#include <utility>

namespace vsockenc {

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
