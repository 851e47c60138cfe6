// Pictures in main memory.
#pragma once

#include <CoreVideo/CVImageBuffer.h>

// The values are the four characters of the comment, big-endian.
enum {
  kCVPixelFormatType_32ARGB = 0x00000020,
  kCVPixelFormatType_32BGRA = 0x42475241,                        /* BGRA */
  kCVPixelFormatType_32ABGR = 0x41424752,                        /* ABGR */
  kCVPixelFormatType_32RGBA = 0x52474241,                        /* RGBA */
  kCVPixelFormatType_ARGB2101010LEPacked = 0x6c313072,           /* l10r */
  kCVPixelFormatType_64RGBAHalf = 0x52476841,                    /* RGhA */
  kCVPixelFormatType_422YpCbCr8 = 0x32767579,                    /* 2vuy */
  kCVPixelFormatType_420YpCbCr8Planar = 0x79343230,              /* y420 */
  kCVPixelFormatType_420YpCbCr8PlanarFullRange = 0x66343230,     /* f420 */
  kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange = 0x34323076,  /* 420v */
  kCVPixelFormatType_420YpCbCr8BiPlanarFullRange = 0x34323066,   /* 420f */
  kCVPixelFormatType_420YpCbCr10BiPlanarVideoRange = 0x78343230, /* x420 */
  kCVPixelFormatType_420YpCbCr10BiPlanarFullRange = 0x78663230   /* xf20 */
};

typedef CVOptionFlags CVPixelBufferLockFlags;
enum { kCVPixelBufferLock_ReadOnly = 0x00000001 };

typedef void (*CVPixelBufferReleaseBytesCallback)(void *refcon, const void *base_address);

CV_EXPORT const CFStringRef kCVPixelBufferPixelFormatTypeKey;
CV_EXPORT const CFStringRef kCVPixelBufferWidthKey;
CV_EXPORT const CFStringRef kCVPixelBufferHeightKey;
CV_EXPORT const CFStringRef kCVPixelBufferBytesPerRowAlignmentKey;
CV_EXPORT const CFStringRef kCVPixelBufferIOSurfacePropertiesKey;
CV_EXPORT const CFStringRef kCVPixelBufferMetalCompatibilityKey;

CV_EXPORT CFTypeID CVPixelBufferGetTypeID(void);
CV_EXPORT CVPixelBufferRef CVPixelBufferRetain(CVPixelBufferRef buffer);
CV_EXPORT void CVPixelBufferRelease(CVPixelBufferRef buffer);
CV_EXPORT CVReturn CVPixelBufferCreate(CFAllocatorRef allocator, size_t width, size_t height,
                                       OSType pixel_format, CFDictionaryRef attributes,
                                       CVPixelBufferRef *buffer);
// Packed formats only. `release` is called when the last reference goes.
CV_EXPORT CVReturn CVPixelBufferCreateWithBytes(CFAllocatorRef allocator, size_t width,
                                                size_t height, OSType pixel_format, void *base,
                                                size_t bytes_per_row,
                                                CVPixelBufferReleaseBytesCallback release,
                                                void *refcon, CFDictionaryRef attributes,
                                                CVPixelBufferRef *buffer);

// Addresses are NULL unless the buffer is locked.
CV_EXPORT CVReturn CVPixelBufferLockBaseAddress(CVPixelBufferRef buffer,
                                                CVPixelBufferLockFlags flags);
CV_EXPORT CVReturn CVPixelBufferUnlockBaseAddress(CVPixelBufferRef buffer,
                                                  CVPixelBufferLockFlags flags);
CV_EXPORT size_t CVPixelBufferGetWidth(CVPixelBufferRef buffer);
CV_EXPORT size_t CVPixelBufferGetHeight(CVPixelBufferRef buffer);
CV_EXPORT OSType CVPixelBufferGetPixelFormatType(CVPixelBufferRef buffer);
CV_EXPORT void *CVPixelBufferGetBaseAddress(CVPixelBufferRef buffer);
CV_EXPORT size_t CVPixelBufferGetBytesPerRow(CVPixelBufferRef buffer);
CV_EXPORT size_t CVPixelBufferGetDataSize(CVPixelBufferRef buffer);
CV_EXPORT Boolean CVPixelBufferIsPlanar(CVPixelBufferRef buffer);
CV_EXPORT size_t CVPixelBufferGetPlaneCount(CVPixelBufferRef buffer);
CV_EXPORT size_t CVPixelBufferGetWidthOfPlane(CVPixelBufferRef buffer, size_t plane);
CV_EXPORT size_t CVPixelBufferGetHeightOfPlane(CVPixelBufferRef buffer, size_t plane);
CV_EXPORT void *CVPixelBufferGetBaseAddressOfPlane(CVPixelBufferRef buffer, size_t plane);
CV_EXPORT size_t CVPixelBufferGetBytesPerRowOfPlane(CVPixelBufferRef buffer, size_t plane);
