// Which encoders there are.
#pragma once

#include <CoreMedia/CMFormatDescription.h>
#include <VideoToolbox/VTBase.h>

VT_EXPORT const CFStringRef kVTVideoEncoderList_CodecType;
VT_EXPORT const CFStringRef kVTVideoEncoderList_EncoderID;
VT_EXPORT const CFStringRef kVTVideoEncoderList_CodecName;
VT_EXPORT const CFStringRef kVTVideoEncoderList_EncoderName;
VT_EXPORT const CFStringRef kVTVideoEncoderList_DisplayName;
// Absent for software encoders and for those of low latency.
VT_EXPORT const CFStringRef kVTVideoEncoderList_IsHardwareAccelerated;

// Arrays of dictionaries with the keys above. Owned by the caller.
VT_EXPORT OSStatus VTCopyVideoEncoderList(CFDictionaryRef options, CFArrayRef *encoders);
// Of the encoder that the specification would choose. Each output may be NULL; owned by the caller.
VT_EXPORT OSStatus VTCopySupportedPropertyDictionaryForEncoder(
    int32_t width, int32_t height, CMVideoCodecType codec, CFDictionaryRef encoder_specification,
    CFStringRef *encoder_id, CFDictionaryRef *supported_properties);
