// NAL units.
#pragma once

#include <CoreMedia/CMFormatDescription.h>

#include <cstdint>
#include <span>
#include <vector>

namespace vt_shim {

using NalUnit = std::span<const uint8_t>;

// The units between the start codes of Annex B.
std::vector<NalUnit> SplitAnnexB(std::span<const uint8_t> stream);

// VPS, SPS or PPS.
bool IsParameterSet(CMVideoCodecType codec, NalUnit unit);
bool IsPictureParameterSet(CMVideoCodecType codec, NalUnit unit);

// Units behind big-endian lengths. Ends the process if one is longer than the length can say.
std::vector<uint8_t> WithLengths(std::span<const NalUnit> units, int length_size);

// The same picture parameter set under another id, which is not 0. Its own must be 0.
std::vector<uint8_t> CopyPictureParameterSet(CMVideoCodecType codec, NalUnit set, unsigned id);

}  // namespace vt_shim
