// Buffers with attachments, and the attachments that describe a picture's colours.
#pragma once

#include <CoreVideo/CVReturn.h>

typedef struct __CVBuffer *CVBufferRef;
typedef CVBufferRef CVImageBufferRef;
typedef CVImageBufferRef CVPixelBufferRef;

typedef uint32_t CVAttachmentMode;
enum { kCVAttachmentMode_ShouldNotPropagate = 0, kCVAttachmentMode_ShouldPropagate = 1 };

typedef uint64_t CVOptionFlags;

CV_EXPORT CVBufferRef CVBufferRetain(CVBufferRef buffer);  // NULL is allowed
CV_EXPORT void CVBufferRelease(CVBufferRef buffer);        // NULL is allowed
CV_EXPORT void CVBufferSetAttachment(CVBufferRef buffer, CFStringRef key, CFTypeRef value,
                                     CVAttachmentMode mode);
CV_EXPORT void CVBufferSetAttachments(CVBufferRef buffer, CFDictionaryRef attachments,
                                      CVAttachmentMode mode);
// Owned by the caller; NULL when there is none.
CV_EXPORT CFTypeRef CVBufferCopyAttachment(CVBufferRef buffer, CFStringRef key,
                                           CVAttachmentMode *mode);
CV_EXPORT Boolean CVBufferHasAttachment(CVBufferRef buffer, CFStringRef key);
CV_EXPORT void CVBufferRemoveAttachment(CVBufferRef buffer, CFStringRef key);
CV_EXPORT void CVBufferRemoveAllAttachments(CVBufferRef buffer);
CV_EXPORT void CVBufferPropagateAttachments(CVBufferRef source, CVBufferRef destination);

CV_EXPORT const CFStringRef kCVImageBufferColorPrimariesKey;
CV_EXPORT const CFStringRef kCVImageBufferColorPrimaries_ITU_R_709_2;
CV_EXPORT const CFStringRef kCVImageBufferColorPrimaries_EBU_3213;
CV_EXPORT const CFStringRef kCVImageBufferColorPrimaries_SMPTE_C;
CV_EXPORT const CFStringRef kCVImageBufferColorPrimaries_P3_D65;
CV_EXPORT const CFStringRef kCVImageBufferColorPrimaries_ITU_R_2020;

CV_EXPORT const CFStringRef kCVImageBufferTransferFunctionKey;
CV_EXPORT const CFStringRef kCVImageBufferTransferFunction_ITU_R_709_2;
CV_EXPORT const CFStringRef kCVImageBufferTransferFunction_SMPTE_240M_1995;
CV_EXPORT const CFStringRef kCVImageBufferTransferFunction_ITU_R_2020;
CV_EXPORT const CFStringRef kCVImageBufferTransferFunction_sRGB;
CV_EXPORT const CFStringRef kCVImageBufferTransferFunction_Linear;
CV_EXPORT const CFStringRef kCVImageBufferTransferFunction_UseGamma;
CV_EXPORT const CFStringRef kCVImageBufferTransferFunction_SMPTE_ST_2084_PQ;
CV_EXPORT const CFStringRef kCVImageBufferTransferFunction_ITU_R_2100_HLG;
CV_EXPORT const CFStringRef kCVImageBufferGammaLevelKey;

CV_EXPORT const CFStringRef kCVImageBufferYCbCrMatrixKey;
CV_EXPORT const CFStringRef kCVImageBufferYCbCrMatrix_ITU_R_709_2;
CV_EXPORT const CFStringRef kCVImageBufferYCbCrMatrix_ITU_R_601_4;
CV_EXPORT const CFStringRef kCVImageBufferYCbCrMatrix_SMPTE_240M_1995;
CV_EXPORT const CFStringRef kCVImageBufferYCbCrMatrix_ITU_R_2020;

CV_EXPORT const CFStringRef kCVImageBufferChromaLocationTopFieldKey;
CV_EXPORT const CFStringRef kCVImageBufferChromaLocationBottomFieldKey;
CV_EXPORT const CFStringRef kCVImageBufferChromaLocation_Left;
CV_EXPORT const CFStringRef kCVImageBufferChromaLocation_Center;
CV_EXPORT const CFStringRef kCVImageBufferChromaLocation_TopLeft;

CV_EXPORT const CFStringRef kCVImageBufferPixelAspectRatioKey;
CV_EXPORT const CFStringRef kCVImageBufferPixelAspectRatioHorizontalSpacingKey;
CV_EXPORT const CFStringRef kCVImageBufferPixelAspectRatioVerticalSpacingKey;
