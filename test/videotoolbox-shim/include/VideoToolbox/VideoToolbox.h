// The subset of VideoToolbox's C API that an encoder needs, for C++ on Linux. See ../../README.md.
#pragma once

#include <CoreMedia/CoreMedia.h>
#include <CoreVideo/CoreVideo.h>

CF_CONSTANTS(OSStatus){
    kVTPropertyNotSupportedErr = -12900,
    kVTPropertyReadOnlyErr = -12901,
    kVTParameterErr = -12902,
    kVTInvalidSessionErr = -12903,
    kVTAllocationFailedErr = -12904,
    kVTPixelTransferNotSupportedErr = -12905,
    kVTCouldNotCreateInstanceErr = -12907,
    kVTCouldNotFindVideoEncoderErr = -12908,
    kVTVideoEncoderMalfunctionErr = -12912,
    kVTVideoEncoderNotAvailableNowErr = -12915,
    kVTSessionMalfunctionErr = -17691,
};
CF_OPTIONS(uint32_t, VTEncodeInfoFlags){
    kVTEncodeInfo_Asynchronous = 1u << 0,
    kVTEncodeInfo_FrameDropped = 1u << 1,
};

// Properties of compression sessions, kVTCompressionPropertyKey_NAME, whose value is NAME:
// X(NAME, kind, access, least, most, release of macOS). Numbers outside of the range are taken for
// bytes of another type. Where nothing is known of the release, it is 10.
#define VT_SHIM_PROPERTIES(X)                                                     \
  X(UsingHardwareAcceleratedVideoEncoder, kBoolean, kReadOnly, 0, 0, 10)          \
  X(EncoderID, kText, kReadOnly, 0, 0, 10)                                        \
  X(MaxFrameDelayCount, kInteger, kReadWrite, -1, 64, 10)                         \
  X(MaxKeyFrameInterval, kInteger, kReadWrite, 0, 2147483647, 10)                 \
  X(MaxKeyFrameIntervalDuration, kReal, kReadWrite, 0, 1e9, 10)                   \
  X(AverageBitRate, kInteger, kReadWrite, 1000, 2147483647, 10)                   \
  X(ConstantBitRate, kInteger, kReadWrite, 1000, 2147483647, 13)                  \
  X(VariableBitRate, kInteger, kReadWrite, 1000, 2147483647, 26)                  \
  X(ExpectedFrameRate, kReal, kReadWrite, 0.1, 1000, 10)                          \
  X(MaximumRealTimeFrameRate, kReal, kReadWrite, 0.1, 1000, 14)                   \
  X(ReferenceBufferCount, kInteger, kReadWrite, 1, 16, 13)                        \
  X(SpatialAdaptiveQPLevel, kInteger, kReadWrite, -2, 2, 15)                      \
  X(AllowFrameReordering, kBoolean, kReadWrite, 0, 0, 10)                         \
  X(AllowOpenGOP, kBoolean, kReadWrite, 0, 0, 10)                                 \
  X(RealTime, kBoolean, kReadWrite, 0, 0, 10)                                     \
  X(PrioritizeEncodingSpeedOverQuality, kBoolean, kReadWrite, 0, 0, 11)           \
  X(DataRateLimits, kArray, kReadWrite, 0, 0, 10) /* CFNumbers: bytes, seconds */ \
  X(ProfileLevel, kText, kReadWrite, 0, 0, 10)                                    \
  X(ColorPrimaries, kText, kReadWrite, 0, 0, 10)                                  \
  X(TransferFunction, kText, kReadWrite, 0, 0, 10)                                \
  X(YCbCrMatrix, kText, kReadWrite, 0, 0, 10)
#define VT_SHIM_DECLARE_PROPERTY(name, ...) \
  CF_EXPORT const CFStringRef kVTCompressionPropertyKey_##name;
VT_SHIM_PROPERTIES(VT_SHIM_DECLARE_PROPERTY)

#define VT_SHIM_VIDEOTOOLBOX_STRINGS(X)                                                       \
  X(kVTProfileLevel_H264_ConstrainedBaseline_AutoLevel, "H264_ConstrainedBaseline_AutoLevel") \
  X(kVTProfileLevel_H264_Main_AutoLevel, "H264_Main_AutoLevel")                               \
  X(kVTProfileLevel_H264_High_AutoLevel, "H264_High_AutoLevel")                               \
  X(kVTProfileLevel_HEVC_Main_AutoLevel, "HEVC_Main_AutoLevel")                               \
  /* An option of one frame. */                                                               \
  X(kVTEncodeFrameOptionKey_ForceKeyFrame, "ForceKeyFrame")                                   \
  /* What VTCompressionSessionCreate chooses an encoder by. */                                \
  X(kVTVideoEncoderSpecification_RequireHardwareAcceleratedVideoEncoder,                      \
    "RequireHardwareAcceleratedVideoEncoder")                                                 \
  X(kVTVideoEncoderSpecification_EnableLowLatencyRateControl, "EnableLowLatencyRateControl")  \
  X(kVTPixelTransferPropertyKey_RealTime, "RealTime")                                         \
  X(kVTPixelTransferPropertyKey_DestinationColorPrimaries, "DestinationColorPrimaries")       \
  X(kVTPixelTransferPropertyKey_DestinationTransferFunction, "DestinationTransferFunction")   \
  X(kVTPixelTransferPropertyKey_DestinationYCbCrMatrix, "DestinationYCbCrMatrix")             \
  X(kVTVideoEncoderList_CodecType, "CodecType")                                               \
  X(kVTVideoEncoderList_EncoderID, "EncoderID")                                               \
  X(kVTVideoEncoderList_DisplayName, "DisplayName")                                           \
  /* Absent for software encoders and for those of low latency. */                            \
  X(kVTVideoEncoderList_IsHardwareAccelerated, "IsHardwareAccelerated")
VT_SHIM_VIDEOTOOLBOX_STRINGS(CF_DECLARE_STRING)

// An array of dictionaries with the keys kVTVideoEncoderList_…. Owned by the caller.
CF_EXPORT OSStatus VTCopyVideoEncoderList(CFDictionaryRef options, CFArrayRef *encoders);

// Sessions of either kind have properties. NULL as value restores the default.
typedef CFTypeRef VTSessionRef;
CF_EXPORT OSStatus VTSessionSetProperty(VTSessionRef session, CFStringRef key, CFTypeRef value);
// *value, a CFTypeRef, is owned by the caller. noErr with NULL: supported, and not set.
CF_EXPORT OSStatus VTSessionCopyProperty(VTSessionRef session, CFStringRef key,
                                         CFAllocatorRef allocator, void *value);

// Encoders. The callback comes on a thread of the session, one call at a time. `sample` is NULL for
// a frame that failed or was dropped, and not retained for the callee.
typedef struct OpaqueVTCompressionSession *VTCompressionSessionRef;
typedef void (*VTCompressionOutputCallback)(void *output_refcon, void *frame_refcon,
                                            OSStatus status, VTEncodeInfoFlags flags,
                                            CMSampleBufferRef sample);
CF_EXPORT OSStatus VTCompressionSessionCreate(
    CFAllocatorRef allocator, int32_t width, int32_t height, CMVideoCodecType codec,
    CFDictionaryRef encoder_specification, CFDictionaryRef source_image_buffer_attributes,
    CFAllocatorRef compressed_data_allocator, VTCompressionOutputCallback callback,
    void *output_refcon, VTCompressionSessionRef *session);
CF_EXPORT void VTCompressionSessionInvalidate(VTCompressionSessionRef session);
// Not retained for the caller; NULL once the session is invalid.
CF_EXPORT CVPixelBufferPoolRef
VTCompressionSessionGetPixelBufferPool(VTCompressionSessionRef session);
CF_EXPORT OSStatus VTCompressionSessionPrepareToEncodeFrames(VTCompressionSessionRef session);
CF_EXPORT OSStatus VTCompressionSessionEncodeFrame(VTCompressionSessionRef session,
                                                   CVImageBufferRef image, CMTime pts,
                                                   CMTime duration,
                                                   CFDictionaryRef frame_properties,
                                                   void *frame_refcon, VTEncodeInfoFlags *flags);
// Waits for every frame up to this time; kCMTimeInvalid: for all.
CF_EXPORT OSStatus VTCompressionSessionCompleteFrames(VTCompressionSessionRef session,
                                                      CMTime complete_until);

// Conversion and scaling from one pixel buffer to another, whose colour attachments name the
// target.
typedef struct OpaqueVTPixelTransferSession *VTPixelTransferSessionRef;
CF_EXPORT OSStatus VTPixelTransferSessionCreate(CFAllocatorRef allocator,
                                                VTPixelTransferSessionRef *session);
CF_EXPORT void VTPixelTransferSessionInvalidate(VTPixelTransferSessionRef session);
CF_EXPORT OSStatus VTPixelTransferSessionTransferImage(VTPixelTransferSessionRef session,
                                                       CVPixelBufferRef source,
                                                       CVPixelBufferRef destination);
