// Conversion and scaling from one pixel buffer to another.
#pragma once

#include <CoreVideo/CoreVideo.h>
#include <VideoToolbox/VTErrors.h>
#include <VideoToolbox/VTSession.h>

typedef struct OpaqueVTPixelTransferSession *VTPixelTransferSessionRef;

VT_EXPORT CFTypeID VTPixelTransferSessionGetTypeID(void);
VT_EXPORT OSStatus VTPixelTransferSessionCreate(CFAllocatorRef allocator,
                                                VTPixelTransferSessionRef *session);
VT_EXPORT void VTPixelTransferSessionInvalidate(VTPixelTransferSessionRef session);
// The destination's colour attachments say what is converted to.
VT_EXPORT OSStatus VTPixelTransferSessionTransferImage(VTPixelTransferSessionRef session,
                                                       CVPixelBufferRef source,
                                                       CVPixelBufferRef destination);
