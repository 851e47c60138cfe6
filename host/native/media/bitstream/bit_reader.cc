#include "bit_reader.h"

namespace vsockenc {

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

}  // namespace vsockenc
