// Pixel buffers over IOSurfaces.
#pragma once

#include <CoreVideo/CVPixelBuffer.h>
#include <IOSurface/IOSurfaceRef.h>

// Not retained for the caller; NULL when the buffer is not made of one.
CV_EXPORT IOSurfaceRef CVPixelBufferGetIOSurface(CVPixelBufferRef buffer);
CV_EXPORT CVReturn CVPixelBufferCreateWithIOSurface(CFAllocatorRef allocator, IOSurfaceRef surface,
                                                    CFDictionaryRef attributes,
                                                    CVPixelBufferRef *buffer);
