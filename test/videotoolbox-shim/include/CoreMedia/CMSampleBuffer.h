// An access unit with its times and attachments.
#pragma once

#include <CoreMedia/CMBase.h>
#include <CoreMedia/CMBlockBuffer.h>
#include <CoreMedia/CMFormatDescription.h>
#include <CoreMedia/CMTime.h>
#include <CoreVideo/CVImageBuffer.h>

typedef struct opaqueCMSampleBuffer *CMSampleBufferRef;

CM_EXPORT const CFStringRef kCMSampleAttachmentKey_NotSync;
CM_EXPORT const CFStringRef kCMSampleAttachmentKey_DependsOnOthers;
CM_EXPORT const CFStringRef kCMSampleAttachmentKey_IsDependedOnByOthers;
CM_EXPORT const CFStringRef kCMSampleAttachmentKey_DisplayImmediately;

CM_EXPORT CFTypeID CMSampleBufferGetTypeID(void);
CM_EXPORT Boolean CMSampleBufferIsValid(CMSampleBufferRef sample);
CM_EXPORT Boolean CMSampleBufferDataIsReady(CMSampleBufferRef sample);
CM_EXPORT CMItemCount CMSampleBufferGetNumSamples(CMSampleBufferRef sample);
CM_EXPORT size_t CMSampleBufferGetTotalSampleSize(CMSampleBufferRef sample);
// The three below are not retained for the caller; NULL where the sample has none.
CM_EXPORT CMBlockBufferRef CMSampleBufferGetDataBuffer(CMSampleBufferRef sample);
CM_EXPORT CMFormatDescriptionRef CMSampleBufferGetFormatDescription(CMSampleBufferRef sample);
CM_EXPORT CFArrayRef CMSampleBufferGetSampleAttachmentsArray(CMSampleBufferRef sample,
                                                             Boolean create_if_necessary);
CM_EXPORT CMTime CMSampleBufferGetPresentationTimeStamp(CMSampleBufferRef sample);
CM_EXPORT CMTime CMSampleBufferGetDecodeTimeStamp(CMSampleBufferRef sample);
CM_EXPORT CMTime CMSampleBufferGetDuration(CMSampleBufferRef sample);
