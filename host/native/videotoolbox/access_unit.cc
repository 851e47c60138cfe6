#include "access_unit.h"

#include <algorithm>
#include <optional>
#include <span>
#include <string>

#include "cf.h"
#include "status.h"

namespace vsockenc::vt {
namespace {

constexpr uint8_t kStartCode[] = {0, 0, 0, 1};

using Unit = std::span<const uint8_t>;

[[noreturn]] void Malformed(const std::string &what) {
  throw VideoToolboxError(kVTVideoEncoderMalfunctionErr, "an access unit " + what);
}

void Append(std::vector<uint8_t> &to, Unit unit) {
  to.insert(to.end(), std::begin(kStartCode), std::end(kStartCode));
  to.insert(to.end(), unit.begin(), unit.end());
}

OSStatus ParameterSet(Codec codec, CMFormatDescriptionRef format, size_t index, const uint8_t **set,
                      size_t *size, size_t *count, int *length_size) {
  return codec == Codec::kH264 ? CMVideoFormatDescriptionGetH264ParameterSetAtIndex(
                                     format, index, set, size, count, length_size)
                               : CMVideoFormatDescriptionGetHEVCParameterSetAtIndex(
                                     format, index, set, size, count, length_size);
}

// The number of parameter sets, and the size of the length before each NAL unit.
struct Framing {
  size_t sets;
  size_t length_size;
};

Framing FramingOf(Codec codec, CMFormatDescriptionRef format) {
  size_t sets = 0;
  int length_size = 0;
  const OSStatus status = ParameterSet(codec, format, 0, nullptr, nullptr, &sets, &length_size);
  if (status != noErr) Malformed("has no parameter sets: " + Words(status));
  if (sets == 0) Malformed("has no parameter sets");
  if (length_size < 1 || length_size > 4) {
    Malformed("has invalid NAL unit lengths of " + std::to_string(length_size) + " bytes");
  }
  return {sets, static_cast<size_t>(length_size)};
}

void AppendParameterSets(std::vector<uint8_t> &to, Codec codec, CMFormatDescriptionRef format,
                         size_t count, const H264Vui &vui) {
  for (size_t i = 0; i < count; ++i) {
    const uint8_t *set = nullptr;
    size_t size = 0;
    const OSStatus status = ParameterSet(codec, format, i, &set, &size, nullptr, nullptr);
    if (status != noErr) {
      Malformed("lacks parameter set " + std::to_string(i) + ": " + Words(status));
    }
    const Unit unit(set, size);
    std::optional<std::vector<uint8_t>> rewritten;
    if (codec == Codec::kH264) rewritten = RewriteSps(unit, vui);
    Append(to, rewritten ? Unit(*rewritten) : unit);
  }
}

// The sample's bytes; a block buffer may consist of several pieces.
std::vector<uint8_t> BytesOf(CMSampleBufferRef sample) {
  const CMBlockBufferRef block = CMSampleBufferGetDataBuffer(sample);
  if (block == nullptr || !CMSampleBufferDataIsReady(sample)) Malformed("has no bytes");
  std::vector<uint8_t> bytes(CMBlockBufferGetDataLength(block));
  if (bytes.empty()) Malformed("has no bytes");
  const OSStatus status = CMBlockBufferCopyDataBytes(block, 0, bytes.size(), bytes.data());
  if (status != noErr) Malformed("cannot be read: " + Words(status));
  return bytes;
}

// kCMSampleAttachmentKey_NotSync: absent or false on a sync sample.
bool IsSync(CMSampleBufferRef sample) {
  const CFArrayRef samples = CMSampleBufferGetSampleAttachmentsArray(sample, false);
  if (samples == nullptr || CFArrayGetCount(samples) == 0) return true;
  const auto attachments = static_cast<CFDictionaryRef>(CFArrayGetValueAtIndex(samples, 0));
  const void *not_sync = CFDictionaryGetValue(attachments, kCMSampleAttachmentKey_NotSync);
  return not_sync == nullptr || !CFBooleanGetValue(static_cast<CFBooleanRef>(not_sync));
}

// Rec. ITU-T H.265, table 7-1: BLA, IDR and CRA pictures are 16 to 21.
bool IsRandomAccess(Unit unit) {
  const int type = unit.front() >> 1 & 0x3f;
  return type >= 16 && type <= 21;
}

// For HEVC the attachment is not enough: it is also absent from some pictures that are not keys.
bool IsKey(CMSampleBufferRef sample, Codec codec, const std::vector<Unit> &units) {
  return IsSync(sample) && (codec == Codec::kH264 || std::ranges::any_of(units, IsRandomAccess));
}

}  // namespace

H264Vui VuiOf(const Settings &settings) {
  H264Vui vui{
      .aspect = settings.pixel_aspect_ratio,
      .colour = settings.colour,
      .chroma_location = ChromaLocation(settings),
      .framerate = {},
  };
  if (settings.fixed_rate) vui.framerate = settings.framerate;
  return vui;
}

std::vector<Unit> NalUnits(Unit bytes, size_t length_size) {
  std::vector<Unit> units;
  while (!bytes.empty()) {
    if (bytes.size() < length_size) Malformed("ends within a length");
    size_t length = 0;
    for (const uint8_t byte : bytes.first(length_size)) length = length << 8 | byte;
    bytes = bytes.subspan(length_size);
    if (length == 0 || length > bytes.size()) {
      Malformed("has a NAL unit of " + std::to_string(length) + " bytes, but only " +
                std::to_string(bytes.size()) + " remain");
    }
    units.push_back(bytes.first(length));
    bytes = bytes.subspan(length);
  }
  return units;
}

AnnexB ToAnnexB(CMSampleBufferRef sample, Codec codec, const H264Vui &vui) {
  const CMFormatDescriptionRef format = CMSampleBufferGetFormatDescription(sample);
  if (format == nullptr) Malformed("has no format description");
  const Framing framing = FramingOf(codec, format);
  const std::vector<uint8_t> bytes = BytesOf(sample);
  const std::vector<Unit> units = NalUnits(bytes, framing.length_size);

  constexpr size_t kRoomForSets = 256;
  AnnexB unit{.bytes = {}, .key = IsKey(sample, codec, units)};
  unit.bytes.reserve(bytes.size() + units.size() * sizeof kStartCode + kRoomForSets);
  if (unit.key) AppendParameterSets(unit.bytes, codec, format, framing.sets, vui);
  for (const Unit nal : units) Append(unit.bytes, nal);
  return unit;
}

}  // namespace vsockenc::vt
