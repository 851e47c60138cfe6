#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace vsockenc {

// NAL units of an Annex B stream (Rec. ITU-T H.264, annex B): where the first one at or behind byte
// `from` begins, behind its start code, and where the one that begins at `begin` ends, without the
// zeros that follow.
std::optional<size_t> NextNalUnit(std::span<const uint8_t> stream, size_t from);
size_t NalUnitEnd(std::span<const uint8_t> stream, size_t begin);

// Between the bytes of a NAL unit and its payload (RBSP): the 3 of each 00 00 03 is left out, or
// put in where the payload would look like a start code (7.4.1).
std::vector<uint8_t> RemoveEmulationPrevention(std::span<const uint8_t> unit);
std::vector<uint8_t> AddEmulationPrevention(std::span<const uint8_t> payload);

}  // namespace vsockenc
