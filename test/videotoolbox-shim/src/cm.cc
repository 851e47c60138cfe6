#include "cm.h"

#include <algorithm>
#include <cmath>

using namespace vt_shim;

// --- times

const CMTime kCMTimeInvalid = {0, 0, 0, 0};
const CMTime kCMTimeZero = {0, 1, kCMTimeFlags_Valid, 0};

CMTime CMTimeMake(int64_t value, int32_t timescale) {
  return timescale > 0 ? CMTime{value, timescale, kCMTimeFlags_Valid, 0} : kCMTimeInvalid;
}
Float64 CMTimeGetSeconds(CMTime time) {
  return CMTIME_IS_NUMERIC(time) ? static_cast<double>(time.value) / time.timescale : NAN;
}

int32_t CMTimeCompare(CMTime one, CMTime other) {
  if (!CMTIME_IS_NUMERIC(one) || !CMTIME_IS_NUMERIC(other)) {
    return CMTIME_IS_NUMERIC(one) - CMTIME_IS_NUMERIC(other);
  }
  const __int128 difference = static_cast<__int128>(one.value) * other.timescale -
                              static_cast<__int128>(other.value) * one.timescale;
  return difference < 0 ? -1 : difference > 0 ? 1 : 0;
}

// --- block buffers

OpaqueCMBlockBuffer::OpaqueCMBlockBuffer(const std::vector<uint8_t> &bytes, size_t piece_size)
    : length(bytes.size()) {
  const size_t limit = piece_size == 0 ? std::max<size_t>(length, 1) : piece_size;
  for (auto from = bytes.begin(); from != bytes.end();) {
    const auto to =
        from + std::min<std::ptrdiff_t>(static_cast<std::ptrdiff_t>(limit), bytes.end() - from);
    pieces.emplace_back(from, to);
    from = to;
  }
}

size_t CMBlockBufferGetDataLength(CMBlockBufferRef buffer) {
  return Check(buffer).length;
}

Boolean CMBlockBufferIsRangeContiguous(CMBlockBufferRef buffer, size_t offset, size_t length) {
  const auto &object = Check(buffer);
  if (offset >= object.length || length > object.length - offset) return false;
  size_t begin = offset;
  auto piece = object.pieces.begin();
  while (begin >= piece->size()) begin -= piece++->size();
  return piece->size() - begin >= (length == 0 ? object.length - offset : length);
}

OSStatus CMBlockBufferCopyDataBytes(CMBlockBufferRef buffer, size_t offset, size_t length,
                                    void *destination) {
  const auto &object = Check(buffer);
  if (destination == nullptr) return kCMBlockBufferBadPointerParameterErr;
  if (offset > object.length) return kCMBlockBufferBadOffsetParameterErr;
  if (length > object.length - offset) return kCMBlockBufferBadLengthParameterErr;
  auto *to = static_cast<uint8_t *>(destination);
  for (const auto &piece : object.pieces) {
    const size_t skipped = std::min(offset, piece.size());
    const size_t size = std::min(piece.size() - skipped, length);
    to = std::copy_n(piece.data() + skipped, size, to);
    offset -= skipped;
    length -= size;
  }
  return kCMBlockBufferNoErr;
}

// --- format descriptions

static OSStatus GetParameterSet(const opaqueCMFormatDescription &description,
                                CMVideoCodecType codec, size_t index, const uint8_t **set,
                                size_t *set_size, size_t *set_count, int *nal_unit_header_length) {
  if (description.codec != codec || index >= description.parameter_sets.size()) {
    return kCMFormatDescriptionError_InvalidParameter;
  }
  const auto give = [](auto *output, auto value) {
    if (output != nullptr) *output = value;
  };
  give(set, description.parameter_sets[index].data());
  give(set_size, description.parameter_sets[index].size());
  give(set_count, description.parameter_sets.size());
  give(nal_unit_header_length, description.nal_length_size);
  return noErr;
}

OSStatus CMVideoFormatDescriptionGetH264ParameterSetAtIndex(CMFormatDescriptionRef description,
                                                            size_t index, const uint8_t **set,
                                                            size_t *set_size, size_t *set_count,
                                                            int *nal_unit_header_length) {
  return GetParameterSet(Check(description), kCMVideoCodecType_H264, index, set, set_size,
                         set_count, nal_unit_header_length);
}

OSStatus CMVideoFormatDescriptionGetHEVCParameterSetAtIndex(CMFormatDescriptionRef description,
                                                            size_t index, const uint8_t **set,
                                                            size_t *set_size, size_t *set_count,
                                                            int *nal_unit_header_length) {
  return GetParameterSet(Check(description), kCMVideoCodecType_HEVC, index, set, set_size,
                         set_count, nal_unit_header_length);
}

// --- sample buffers

Boolean CMSampleBufferDataIsReady(CMSampleBufferRef sample) {
  return static_cast<bool>(Check(sample).data);
}
CMBlockBufferRef CMSampleBufferGetDataBuffer(CMSampleBufferRef sample) {
  return Check(sample).data.get();
}
CMFormatDescriptionRef CMSampleBufferGetFormatDescription(CMSampleBufferRef sample) {
  return Check(sample).format.get();
}
CFArrayRef CMSampleBufferGetSampleAttachmentsArray(CMSampleBufferRef sample, Boolean) {
  return Check(sample).attachments.get();
}
CMTime CMSampleBufferGetDecodeTimeStamp(CMSampleBufferRef sample) {
  return Check(sample).dts;
}
