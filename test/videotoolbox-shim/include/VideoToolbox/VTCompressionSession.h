// Encoders.
#pragma once

#include <CoreMedia/CoreMedia.h>
#include <CoreVideo/CoreVideo.h>
#include <VideoToolbox/VTErrors.h>
#include <VideoToolbox/VTSession.h>

typedef struct OpaqueVTCompressionSession *VTCompressionSessionRef;

// On a thread of the session, one call at a time. `sample` is NULL for a frame that failed or was
// dropped, and not retained for the callee.
typedef void (*VTCompressionOutputCallback)(void *output_refcon, void *frame_refcon,
                                            OSStatus status, VTEncodeInfoFlags flags,
                                            CMSampleBufferRef sample);

VT_EXPORT CFTypeID VTCompressionSessionGetTypeID(void);
VT_EXPORT OSStatus VTCompressionSessionCreate(
    CFAllocatorRef allocator, int32_t width, int32_t height, CMVideoCodecType codec,
    CFDictionaryRef encoder_specification, CFDictionaryRef source_image_buffer_attributes,
    CFAllocatorRef compressed_data_allocator, VTCompressionOutputCallback callback,
    void *output_refcon, VTCompressionSessionRef *session);
VT_EXPORT void VTCompressionSessionInvalidate(VTCompressionSessionRef session);
// Not retained for the caller; NULL once the session is invalid.
VT_EXPORT CVPixelBufferPoolRef
VTCompressionSessionGetPixelBufferPool(VTCompressionSessionRef session);
VT_EXPORT OSStatus VTCompressionSessionPrepareToEncodeFrames(VTCompressionSessionRef session);
VT_EXPORT OSStatus VTCompressionSessionEncodeFrame(VTCompressionSessionRef session,
                                                   CVImageBufferRef image, CMTime pts,
                                                   CMTime duration,
                                                   CFDictionaryRef frame_properties,
                                                   void *frame_refcon, VTEncodeInfoFlags *flags);
// Waits for every frame up to this time; kCMTimeInvalid: for all.
VT_EXPORT OSStatus VTCompressionSessionCompleteFrames(VTCompressionSessionRef session,
                                                      CMTime complete_until);
