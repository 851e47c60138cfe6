#include "sps_vui.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "h264_sps.h"
#include "nal_unit.h"

namespace vsockenc {
namespace {

// nal_unit_type, table 7-1
constexpr int kLastSliceType = 5;
constexpr int kSpsType = 7;

int TypeOf(std::span<const uint8_t> unit) {
  return unit.empty() ? 0 : unit.front() & 0x1f;
}

// aspect_ratio_idc 1 … 16, table E-1
constexpr std::array<std::pair<int, int>, 16> kAspects{{{1, 1},
                                                        {12, 11},
                                                        {10, 11},
                                                        {16, 11},
                                                        {40, 33},
                                                        {24, 11},
                                                        {20, 11},
                                                        {32, 11},
                                                        {80, 33},
                                                        {18, 11},
                                                        {15, 11},
                                                        {64, 33},
                                                        {160, 99},
                                                        {4, 3},
                                                        {3, 2},
                                                        {2, 1}}};
constexpr uint32_t kExtendedSar = 255;

void WriteAspect(BitWriter &bits, const Fraction &aspect) {
  bits.Flag(true);
  const auto known = std::ranges::find(kAspects, std::pair(aspect.numerator, aspect.denominator));
  if (known != kAspects.end()) {
    bits.Bits(static_cast<uint32_t>(std::distance(kAspects.begin(), known)) + 1, 8);
    return;
  }
  bits.Bits(kExtendedSar, 8);
  bits.Bits(static_cast<uint32_t>(aspect.numerator), 16);
  bits.Bits(static_cast<uint32_t>(aspect.denominator), 16);
}

void WriteColour(BitWriter &bits, const ColourDescription &colour) {
  constexpr uint32_t kUnspecifiedFormat = 5;  // table E-2
  bits.Flag(true);
  bits.Bits(kUnspecifiedFormat, 3);
  bits.Flag(colour.full_range);
  bits.Flag(true);
  for (const int point : {colour.primaries, colour.transfer, colour.matrix}) {
    bits.Bits(static_cast<uint32_t>(point), 8);
  }
}

void WriteChromaLocation(BitWriter &bits, int location) {
  bits.Flag(location != 0);
  if (location == 0) return;
  bits.Unsigned(static_cast<uint32_t>(location));
  bits.Unsigned(static_cast<uint32_t>(location));
}

// A tick is the time of a field, half a frame (E.2.1).
void WriteTiming(BitWriter &bits, const std::optional<Fraction> &framerate) {
  bits.Flag(framerate.has_value());
  if (!framerate) return;
  bits.Bits(static_cast<uint32_t>(framerate->denominator), 32);
  bits.Bits(static_cast<uint32_t>(framerate->numerator) * 2, 32);
  bits.Flag(true);
}

// Part of the encoder's VUI, or `count` zero bits if it has none.
void CopyOrZero(BitWriter &bits, std::span<const uint8_t> payload,
                const std::optional<BitRange> &range, int count) {
  if (range) {
    bits.Copy(payload, range->begin, range->end);
  } else {
    bits.Bits(0, count);
  }
}

void WriteRestriction(BitWriter &bits, std::span<const uint8_t> payload, const H264Sps &sps) {
  bits.Flag(true);
  if (sps.restriction) {
    bits.Copy(payload, sps.restriction->begin, sps.restriction->end);
  } else {
    constexpr uint32_t kLongestVector = 15;  // the default without these fields
    bits.Flag(true);
    bits.Unsigned(0);  // no limit of bytes a picture
    bits.Unsigned(0);  // nor of bits a macroblock
    bits.Unsigned(kLongestVector);
    bits.Unsigned(kLongestVector);
  }
  bits.Unsigned(0);
  bits.Unsigned(sps.max_num_ref_frames);
}

}  // namespace

std::optional<std::vector<uint8_t>> RewriteSps(std::span<const uint8_t> unit, const H264Vui &vui) {
  if (TypeOf(unit) != kSpsType) return std::nullopt;
  const std::vector<uint8_t> payload = RemoveEmulationPrevention(unit.subspan(1));
  const std::optional<H264Sps> sps = ParseH264Sps(payload);
  if (!sps) return std::nullopt;

  BitWriter bits;
  bits.Bits(unit.front(), 8);
  bits.Copy(payload, 0, sps->vui_flag);
  bits.Flag(true);
  WriteAspect(bits, vui.aspect);
  CopyOrZero(bits, payload, sps->overscan, 1);
  WriteColour(bits, vui.colour);
  WriteChromaLocation(bits, vui.chroma_location);
  WriteTiming(bits, vui.framerate);
  CopyOrZero(bits, payload, sps->hrd, 3);
  WriteRestriction(bits, payload, *sps);
  return AddEmulationPrevention(std::move(bits).Finish());
}

std::optional<std::vector<uint8_t>> RewriteAccessUnit(std::span<const uint8_t> access_unit,
                                                      const H264Vui &vui) {
  std::vector<uint8_t> rewritten;
  size_t copied = 0;  // bytes of the access unit that are in `rewritten`
  for (auto begin = NextNalUnit(access_unit, 0); begin;) {
    const int type = TypeOf(access_unit.subspan(*begin));
    if (type >= 1 && type <= kLastSliceType) break;
    const size_t end = NalUnitEnd(access_unit, *begin);
    const auto unit = access_unit.subspan(*begin, end - *begin);
    const std::optional<std::vector<uint8_t>> sps = RewriteSps(unit, vui);
    if (sps && !std::ranges::equal(*sps, unit)) {
      const auto kept = access_unit.subspan(copied, *begin - copied);
      rewritten.reserve(access_unit.size() + sps->size());
      rewritten.insert(rewritten.end(), kept.begin(), kept.end());
      rewritten.insert(rewritten.end(), sps->begin(), sps->end());
      copied = end;
    }
    begin = NextNalUnit(access_unit, end);
  }
  if (copied == 0) return std::nullopt;
  const auto rest = access_unit.subspan(copied);
  rewritten.insert(rewritten.end(), rest.begin(), rest.end());
  return rewritten;
}

}  // namespace vsockenc
