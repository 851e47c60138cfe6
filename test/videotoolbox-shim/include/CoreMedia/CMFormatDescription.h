// What kind of video a sample is, with its parameter sets.
#pragma once

#include <CoreMedia/CMBase.h>

typedef const struct opaqueCMFormatDescription *CMFormatDescriptionRef;
typedef CMFormatDescriptionRef CMVideoFormatDescriptionRef;
typedef FourCharCode CMMediaType;
typedef FourCharCode CMVideoCodecType;
typedef FourCharCode CMPixelFormatType;

enum { kCMMediaType_Video = 0x76696465 /* vide */ };
enum {
  kCMVideoCodecType_H264 = 0x61766331,         /* avc1 */
  kCMVideoCodecType_HEVC = 0x68766331,         /* hvc1 */
  kCMVideoCodecType_HEVCWithAlpha = 0x6d757861 /* muxa */
};
enum {
  kCMFormatDescriptionError_InvalidParameter = -12710,
  kCMFormatDescriptionError_AllocationFailed = -12711,
  kCMFormatDescriptionError_ValueNotAvailable = -12718
};

typedef struct {
  int32_t width;
  int32_t height;
} CMVideoDimensions;

CM_EXPORT const CFStringRef kCMFormatDescriptionExtension_ColorPrimaries;
CM_EXPORT const CFStringRef kCMFormatDescriptionExtension_TransferFunction;
CM_EXPORT const CFStringRef kCMFormatDescriptionExtension_YCbCrMatrix;
CM_EXPORT const CFStringRef kCMFormatDescriptionExtension_FullRangeVideo;

CM_EXPORT CFTypeID CMFormatDescriptionGetTypeID(void);
CM_EXPORT CMMediaType CMFormatDescriptionGetMediaType(CMFormatDescriptionRef description);
CM_EXPORT FourCharCode CMFormatDescriptionGetMediaSubType(CMFormatDescriptionRef description);
CM_EXPORT CFDictionaryRef CMFormatDescriptionGetExtensions(CMFormatDescriptionRef description);
CM_EXPORT CFTypeRef CMFormatDescriptionGetExtension(CMFormatDescriptionRef description,
                                                    CFStringRef key);
CM_EXPORT Boolean CMFormatDescriptionEqual(CMFormatDescriptionRef one,
                                           CMFormatDescriptionRef other);
CM_EXPORT CMVideoDimensions
CMVideoFormatDescriptionGetDimensions(CMVideoFormatDescriptionRef description);

// Any of the outputs may be NULL. The sets carry no start code and no length; they live as long as
// the description.
CM_EXPORT OSStatus CMVideoFormatDescriptionGetH264ParameterSetAtIndex(
    CMFormatDescriptionRef description, size_t index, const uint8_t **set, size_t *set_size,
    size_t *set_count, int *nal_unit_header_length);
CM_EXPORT OSStatus CMVideoFormatDescriptionGetHEVCParameterSetAtIndex(
    CMFormatDescriptionRef description, size_t index, const uint8_t **set, size_t *set_size,
    size_t *set_count, int *nal_unit_header_length);
