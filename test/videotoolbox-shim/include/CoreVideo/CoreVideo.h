// The subset of CoreVideo's C API that an encoder needs, for C++ on Linux. See ../../README.md.
#pragma once

#include <CoreFoundation/CoreFoundation.h>
#include <IOSurface/IOSurface.h>

typedef int32_t CVReturn;
CF_CONSTANTS(CVReturn){
    kCVReturnSuccess = 0,
    kCVReturnInvalidArgument = -6661,
    kCVReturnAllocationFailed = -6662,
    kCVReturnInvalidPixelFormat = -6680,
    kCVReturnInvalidPixelBufferAttributes = -6682,
};

#define VT_SHIM_COREVIDEO_STRINGS(X)                                                      \
  X(kCVImageBufferColorPrimariesKey, "CVImageBufferColorPrimaries")                       \
  X(kCVImageBufferColorPrimaries_ITU_R_709_2, "ITU_R_709_2")                              \
  X(kCVImageBufferColorPrimaries_EBU_3213, "EBU_3213")                                    \
  X(kCVImageBufferColorPrimaries_SMPTE_C, "SMPTE_C")                                      \
  X(kCVImageBufferColorPrimaries_P3_D65, "P3_D65")                                        \
  X(kCVImageBufferColorPrimaries_ITU_R_2020, "ITU_R_2020")                                \
  X(kCVImageBufferTransferFunctionKey, "CVImageBufferTransferFunction")                   \
  X(kCVImageBufferTransferFunction_ITU_R_709_2, "ITU_R_709_2")                            \
  X(kCVImageBufferTransferFunction_SMPTE_240M_1995, "SMPTE_240M_1995")                    \
  X(kCVImageBufferTransferFunction_ITU_R_2020, "ITU_R_2020")                              \
  X(kCVImageBufferTransferFunction_sRGB, "IEC_sRGB")                                      \
  X(kCVImageBufferTransferFunction_Linear, "Linear")                                      \
  X(kCVImageBufferTransferFunction_SMPTE_ST_2084_PQ, "SMPTE_ST_2084_PQ")                  \
  X(kCVImageBufferTransferFunction_ITU_R_2100_HLG, "ITU_R_2100_HLG")                      \
  X(kCVImageBufferYCbCrMatrixKey, "CVImageBufferYCbCrMatrix")                             \
  X(kCVImageBufferYCbCrMatrix_ITU_R_709_2, "ITU_R_709_2")                                 \
  X(kCVImageBufferYCbCrMatrix_ITU_R_601_4, "ITU_R_601_4")                                 \
  X(kCVImageBufferYCbCrMatrix_SMPTE_240M_1995, "SMPTE_240M_1995")                         \
  X(kCVImageBufferYCbCrMatrix_ITU_R_2020, "ITU_R_2020")                                   \
  X(kCVImageBufferChromaLocationTopFieldKey, "CVImageBufferChromaLocationTopField")       \
  X(kCVImageBufferChromaLocationBottomFieldKey, "CVImageBufferChromaLocationBottomField") \
  X(kCVImageBufferChromaLocation_Left, "Left")                                            \
  X(kCVImageBufferChromaLocation_Center, "Center")                                        \
  X(kCVImageBufferPixelAspectRatioKey, "CVPixelAspectRatio")                              \
  X(kCVImageBufferPixelAspectRatioHorizontalSpacingKey, "HorizontalSpacing")              \
  X(kCVImageBufferPixelAspectRatioVerticalSpacingKey, "VerticalSpacing")                  \
  X(kCVPixelBufferPixelFormatTypeKey, "PixelFormatType")                                  \
  X(kCVPixelBufferWidthKey, "Width")                                                      \
  X(kCVPixelBufferHeightKey, "Height")                                                    \
  X(kCVPixelBufferIOSurfacePropertiesKey, "IOSurfaceProperties")
VT_SHIM_COREVIDEO_STRINGS(CF_DECLARE_STRING)

// Buffers with attachments.
typedef struct __CVBuffer *CVBufferRef;
typedef CVBufferRef CVImageBufferRef;
typedef CVImageBufferRef CVPixelBufferRef;
typedef uint64_t CVOptionFlags;
CF_ENUM(uint32_t, CVAttachmentMode){
    kCVAttachmentMode_ShouldNotPropagate = 0,
    kCVAttachmentMode_ShouldPropagate = 1,
};
CF_EXPORT void CVBufferSetAttachment(CVBufferRef buffer, CFStringRef key, CFTypeRef value,
                                     CVAttachmentMode mode);
CF_EXPORT void CVBufferRemoveAttachment(CVBufferRef buffer, CFStringRef key);

// Pictures in memory. The values are the four characters of the comment, big-endian.
CF_CONSTANTS(OSType){
    kCVPixelFormatType_32ARGB = 0x00000020,
    kCVPixelFormatType_32BGRA = 0x42475241,                        // BGRA
    kCVPixelFormatType_32ABGR = 0x41424752,                        // ABGR
    kCVPixelFormatType_32RGBA = 0x52474241,                        // RGBA
    kCVPixelFormatType_64RGBAHalf = 0x52476841,                    // RGhA
    kCVPixelFormatType_422YpCbCr8 = 0x32767579,                    // 2vuy
    kCVPixelFormatType_420YpCbCr8Planar = 0x79343230,              // y420
    kCVPixelFormatType_420YpCbCr8PlanarFullRange = 0x66343230,     // f420
    kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange = 0x34323076,  // 420v
    kCVPixelFormatType_420YpCbCr8BiPlanarFullRange = 0x34323066,   // 420f
};
CF_OPTIONS(CVOptionFlags, CVPixelBufferLockFlags){kCVPixelBufferLock_ReadOnly = 0x00000001};

CF_EXPORT CVReturn CVPixelBufferCreate(CFAllocatorRef allocator, size_t width, size_t height,
                                       OSType pixel_format, CFDictionaryRef attributes,
                                       CVPixelBufferRef *buffer);
CF_EXPORT CVReturn CVPixelBufferCreateWithIOSurface(CFAllocatorRef allocator, IOSurfaceRef surface,
                                                    CFDictionaryRef attributes,
                                                    CVPixelBufferRef *buffer);
// Not retained for the caller; NULL when the buffer is not made of one.
CF_EXPORT IOSurfaceRef CVPixelBufferGetIOSurface(CVPixelBufferRef buffer);
// Addresses are NULL unless the buffer is locked.
CF_EXPORT CVReturn CVPixelBufferLockBaseAddress(CVPixelBufferRef buffer,
                                                CVPixelBufferLockFlags flags);
CF_EXPORT CVReturn CVPixelBufferUnlockBaseAddress(CVPixelBufferRef buffer,
                                                  CVPixelBufferLockFlags flags);
CF_EXPORT size_t CVPixelBufferGetWidth(CVPixelBufferRef buffer);
CF_EXPORT size_t CVPixelBufferGetHeight(CVPixelBufferRef buffer);
CF_EXPORT Boolean CVPixelBufferIsPlanar(CVPixelBufferRef buffer);
CF_EXPORT void *CVPixelBufferGetBaseAddress(CVPixelBufferRef buffer);
CF_EXPORT size_t CVPixelBufferGetBytesPerRow(CVPixelBufferRef buffer);
CF_EXPORT void *CVPixelBufferGetBaseAddressOfPlane(CVPixelBufferRef buffer, size_t plane);
CF_EXPORT size_t CVPixelBufferGetBytesPerRowOfPlane(CVPixelBufferRef buffer, size_t plane);

// Pools, which recycle the memory of pixel buffers.
typedef struct __CVPixelBufferPool *CVPixelBufferPoolRef;
CF_EXPORT CVReturn CVPixelBufferPoolCreate(CFAllocatorRef allocator,
                                           CFDictionaryRef pool_attributes,
                                           CFDictionaryRef pixel_buffer_attributes,
                                           CVPixelBufferPoolRef *pool);
CF_EXPORT CVReturn CVPixelBufferPoolCreatePixelBuffer(CFAllocatorRef allocator,
                                                      CVPixelBufferPoolRef pool,
                                                      CVPixelBufferRef *buffer);
