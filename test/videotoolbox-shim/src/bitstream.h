// NAL units.
#pragma once

#include <CoreMedia/CoreMedia.h>

#include <cstdint>
#include <span>
#include <vector>

namespace vt_shim {

using NalUnit = std::span<const uint8_t>;

// The units between the start codes of Annex B.
std::vector<NalUnit> SplitAnnexB(NalUnit stream);

// VPS, SPS or PPS.
bool IsParameterSet(CMVideoCodecType codec, NalUnit unit);
bool IsPictureParameterSet(CMVideoCodecType codec, NalUnit unit);

// Each unit after its big-endian length. Ends the process if a unit is too long for the length.
std::vector<uint8_t> WithLengths(std::span<const NalUnit> units, int length_size);

// The same picture parameter set under another id, which is not 0. Its own must be 0.
std::vector<uint8_t> CopyPictureParameterSet(CMVideoCodecType codec, NalUnit set, unsigned id);

}  // namespace vt_shim
