#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace vsockenc {

// NAL units of an Annex B stream (Rec. ITU-T H.264, annex B): the first byte after the next start
// code at or after `from`, and the end of the unit that begins at `begin`, without trailing zeros.
std::optional<size_t> NextNalUnit(std::span<const uint8_t> stream, size_t from);
size_t NalUnitEnd(std::span<const uint8_t> stream, size_t begin);

// Convert between the bytes of a NAL unit and its payload (RBSP): remove the 3 of each 00 00 03, or
// insert it where the payload would look like a start code (7.4.1).
std::vector<uint8_t> RemoveEmulationPrevention(std::span<const uint8_t> unit);
std::vector<uint8_t> AddEmulationPrevention(std::span<const uint8_t> payload);

// Reads bits of untrusted bytes, most significant first. Past the end every value is 0 and `failed`
// stays true, so a parser can check it once at its end. Each value takes at least one bit, so a
// loop with a bounded number of values terminates.
class BitReader {
 public:
  explicit BitReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  // u(count) of H.264, at most 32 bits.
  uint32_t Bits(int count);
  bool Flag() { return Bits(1) != 0; }
  // ue(v) and se(v) of H.264, 9.1. More than 32 bits of value is a failure.
  uint32_t Unsigned();
  int64_t Signed();
  // ue(v) with a maximum: a larger value is a failure.
  uint32_t UnsignedUpTo(uint32_t most);

  bool failed() const { return failed_; }
  // Bits read so far.
  size_t position() const { return position_; }
  // Whether only the stop bit and the zeros that fill its byte are left (rbsp_trailing_bits).
  bool AtTrailingBits() const;

 private:
  std::span<const uint8_t> bytes_;
  size_t position_ = 0;
  bool failed_ = false;
};

// Writes bits for BitReader.
class BitWriter {
 public:
  // The lowest `count` bits, at most 32.
  void Bits(uint32_t value, int count);
  void Flag(bool value) { Bits(value ? 1 : 0, 1); }
  // ue(v), at most 2^32 - 2.
  void Unsigned(uint32_t value);
  // Bits begin … end-1 of `from`, which must have them.
  void Copy(std::span<const uint8_t> from, size_t begin, size_t end);
  // Appends rbsp_trailing_bits; nothing may be written afterwards.
  std::vector<uint8_t> Finish() &&;

 private:
  std::vector<uint8_t> bytes_;
  size_t position_ = 0;
};

}  // namespace vsockenc
