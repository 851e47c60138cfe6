// The subset of CoreMedia's C API that an encoder needs, for C++ on Linux. See ../../README.md.
#pragma once

#include <CoreFoundation/CoreFoundation.h>

// Times: value / timescale seconds. Packed as Apple packs them.
CF_OPTIONS(uint32_t, CMTimeFlags){
    kCMTimeFlags_Valid = 1u << 0,
    kCMTimeFlags_PositiveInfinity = 1u << 2,
    kCMTimeFlags_NegativeInfinity = 1u << 3,
    kCMTimeFlags_Indefinite = 1u << 4,
    kCMTimeFlags_ImpliedValueFlagsMask = kCMTimeFlags_PositiveInfinity |
                                         kCMTimeFlags_NegativeInfinity | kCMTimeFlags_Indefinite,
};
#pragma pack(push, 4)
struct CMTime {
  int64_t value;
  int32_t timescale;
  CMTimeFlags flags;
  int64_t epoch;
};
#pragma pack(pop)

CF_EXPORT const CMTime kCMTimeInvalid;
CF_EXPORT const CMTime kCMTimeZero;

#define CMTIME_IS_VALID(time) ((Boolean)(((time).flags & kCMTimeFlags_Valid) != 0))
#define CMTIME_IS_NUMERIC(time)                                                            \
  ((Boolean)(((time).flags & (kCMTimeFlags_Valid | kCMTimeFlags_ImpliedValueFlagsMask)) == \
             kCMTimeFlags_Valid))

CF_EXPORT CMTime CMTimeMake(int64_t value, int32_t timescale);
CF_EXPORT Float64 CMTimeGetSeconds(CMTime time);
// -1, 0 or 1. Of numeric times, and invalid ones, which are less.
CF_EXPORT int32_t CMTimeCompare(CMTime one, CMTime other);

// Byte ranges that may lie in several pieces of memory.
typedef struct OpaqueCMBlockBuffer *CMBlockBufferRef;
CF_CONSTANTS(OSStatus){
    kCMBlockBufferNoErr = 0,
    kCMBlockBufferBadOffsetParameterErr = -12703,
    kCMBlockBufferBadLengthParameterErr = -12704,
    kCMBlockBufferBadPointerParameterErr = -12705,
};
CF_EXPORT size_t CMBlockBufferGetDataLength(CMBlockBufferRef buffer);
// length 0: up to the end.
CF_EXPORT Boolean CMBlockBufferIsRangeContiguous(CMBlockBufferRef buffer, size_t offset,
                                                 size_t length);
CF_EXPORT OSStatus CMBlockBufferCopyDataBytes(CMBlockBufferRef buffer, size_t offset, size_t length,
                                              void *destination);

// The codec of a sample, with its parameter sets.
typedef const struct opaqueCMFormatDescription *CMFormatDescriptionRef;
typedef FourCharCode CMVideoCodecType;
CF_CONSTANTS(CMVideoCodecType){
    kCMVideoCodecType_H264 = 0x61766331,  // avc1
    kCMVideoCodecType_HEVC = 0x68766331,  // hvc1
};
CF_CONSTANTS(OSStatus){kCMFormatDescriptionError_InvalidParameter = -12710};
// Any of the outputs may be NULL. The sets carry no start code and no length; they live as long as
// the description.
CF_EXPORT OSStatus CMVideoFormatDescriptionGetH264ParameterSetAtIndex(
    CMFormatDescriptionRef description, size_t index, const uint8_t **set, size_t *set_size,
    size_t *set_count, int *nal_unit_header_length);
CF_EXPORT OSStatus CMVideoFormatDescriptionGetHEVCParameterSetAtIndex(
    CMFormatDescriptionRef description, size_t index, const uint8_t **set, size_t *set_size,
    size_t *set_count, int *nal_unit_header_length);

// An access unit with its times and attachments.
typedef struct opaqueCMSampleBuffer *CMSampleBufferRef;
CF_EXPORT const CFStringRef kCMSampleAttachmentKey_NotSync;
CF_EXPORT Boolean CMSampleBufferDataIsReady(CMSampleBufferRef sample);
// The three below are not retained for the caller; NULL where the sample has none. The array is
// never created here.
CF_EXPORT CMBlockBufferRef CMSampleBufferGetDataBuffer(CMSampleBufferRef sample);
CF_EXPORT CMFormatDescriptionRef CMSampleBufferGetFormatDescription(CMSampleBufferRef sample);
CF_EXPORT CFArrayRef CMSampleBufferGetSampleAttachmentsArray(CMSampleBufferRef sample,
                                                             Boolean create_if_necessary);
CF_EXPORT CMTime CMSampleBufferGetDecodeTimeStamp(CMSampleBufferRef sample);
