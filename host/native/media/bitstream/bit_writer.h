#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vsockenc {

// The reverse of BitReader.
class BitWriter {
 public:
  // The lowest `count` bits, at most 32.
  void Bits(uint32_t value, int count);
  void Flag(bool value) { Bits(value ? 1 : 0, 1); }
  // ue(v), at most 2^32 - 2.
  void Unsigned(uint32_t value);
  // Bits begin … end-1 of `from`, which has them.
  void Copy(std::span<const uint8_t> from, size_t begin, size_t end);
  // Appends rbsp_trailing_bits; nothing may be written afterwards.
  std::vector<uint8_t> Finish() &&;

 private:
  std::vector<uint8_t> bytes_;
  size_t position_ = 0;
};

}  // namespace vsockenc
