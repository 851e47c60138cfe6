// Pools, which recycle the memory of pixel buffers.
#pragma once

#include <CoreVideo/CVPixelBuffer.h>

typedef struct __CVPixelBufferPool *CVPixelBufferPoolRef;
typedef CVOptionFlags CVPixelBufferPoolFlushFlags;
enum { kCVPixelBufferPoolFlushExcessBuffers = 1 };

CV_EXPORT const CFStringRef kCVPixelBufferPoolMinimumBufferCountKey;
CV_EXPORT const CFStringRef kCVPixelBufferPoolMaximumBufferAgeKey;
CV_EXPORT const CFStringRef kCVPixelBufferPoolAllocationThresholdKey;

CV_EXPORT CFTypeID CVPixelBufferPoolGetTypeID(void);
CV_EXPORT CVPixelBufferPoolRef CVPixelBufferPoolRetain(CVPixelBufferPoolRef pool);
CV_EXPORT void CVPixelBufferPoolRelease(CVPixelBufferPoolRef pool);
CV_EXPORT CVReturn CVPixelBufferPoolCreate(CFAllocatorRef allocator,
                                           CFDictionaryRef pool_attributes,
                                           CFDictionaryRef pixel_buffer_attributes,
                                           CVPixelBufferPoolRef *pool);
CV_EXPORT CFDictionaryRef CVPixelBufferPoolGetPixelBufferAttributes(CVPixelBufferPoolRef pool);
CV_EXPORT CVReturn CVPixelBufferPoolCreatePixelBuffer(CFAllocatorRef allocator,
                                                      CVPixelBufferPoolRef pool,
                                                      CVPixelBufferRef *buffer);
// With kCVPixelBufferPoolAllocationThresholdKey in `aux`: kCVReturnWouldExceedAllocationThreshold
// while that many buffers are in use.
CV_EXPORT CVReturn CVPixelBufferPoolCreatePixelBufferWithAuxAttributes(CFAllocatorRef allocator,
                                                                       CVPixelBufferPoolRef pool,
                                                                       CFDictionaryRef aux,
                                                                       CVPixelBufferRef *buffer);
CV_EXPORT void CVPixelBufferPoolFlush(CVPixelBufferPoolRef pool,
                                      CVPixelBufferPoolFlushFlags options);
