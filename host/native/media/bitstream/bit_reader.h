#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace vsockenc {

// Bits, most significant first, of bytes that anybody may have made up. Behind the end everything
// reads as 0 and `failed` stays true, so a parser may read on and ask once. Every value takes one
// bit at least, so whoever bounds his loops ends.
class BitReader {
 public:
  explicit BitReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  // u(count) of H.264, at most 32 bits.
  uint32_t Bits(int count);
  bool Flag() { return Bits(1) != 0; }
  // ue(v) and se(v) of H.264, 9.1. More than 32 bits of value is a failure.
  uint32_t Unsigned();
  int64_t Signed();
  // ue(v) that a specification bounds: a larger one is a failure.
  uint32_t UnsignedUpTo(uint32_t most);

  bool failed() const { return failed_; }
  // Bits read so far.
  size_t position() const { return position_; }
  // Whether nothing is left but the stop bit and the zeros that fill its byte
  // (rbsp_trailing_bits).
  bool AtTrailingBits() const;

 private:
  std::span<const uint8_t> bytes_;
  size_t position_ = 0;
  bool failed_ = false;
};

}  // namespace vsockenc
