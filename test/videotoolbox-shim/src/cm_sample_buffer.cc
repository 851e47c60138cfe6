#include "cm_types.h"

using vt_shim::Check;
using vt_shim::kTypeOf;

opaqueCMSampleBuffer::opaqueCMSampleBuffer()
    : ObjectOf(kTypeOf<opaqueCMSampleBuffer>, vt_shim::Lifetime::kCounted) {}

void opaqueCMSampleBuffer::Finalize() {
  data = {};
  format = {};
  attachments = {};
}

CFTypeID CMSampleBufferGetTypeID(void) {
  return kTypeOf<opaqueCMSampleBuffer>.id;
}

Boolean CMSampleBufferIsValid(CMSampleBufferRef sample) {
  Check(sample, "CMSampleBufferIsValid");
  return true;
}

Boolean CMSampleBufferDataIsReady(CMSampleBufferRef sample) {
  Check(sample, "CMSampleBufferDataIsReady");
  return true;
}

CMItemCount CMSampleBufferGetNumSamples(CMSampleBufferRef sample) {
  Check(sample, "CMSampleBufferGetNumSamples");
  return 1;
}

size_t CMSampleBufferGetTotalSampleSize(CMSampleBufferRef sample) {
  return Check(sample, "CMSampleBufferGetTotalSampleSize").data->length;
}

CMBlockBufferRef CMSampleBufferGetDataBuffer(CMSampleBufferRef sample) {
  return Check(sample, "CMSampleBufferGetDataBuffer").data.get();
}

CMFormatDescriptionRef CMSampleBufferGetFormatDescription(CMSampleBufferRef sample) {
  return Check(sample, "CMSampleBufferGetFormatDescription").format.get();
}

CFArrayRef CMSampleBufferGetSampleAttachmentsArray(CMSampleBufferRef sample,
                                                   Boolean create_if_necessary) {
  auto &object = Check(sample, "CMSampleBufferGetSampleAttachmentsArray");
  if (!object.attachments && create_if_necessary) {
    auto array = vt_shim::Ref<__CFArray>::Adopt(new __CFArray(true));
    array->values.push_back(vt_shim::AnyRef::Adopt(new __CFDictionary(true)));
    object.attachments = array;
  }
  return object.attachments.get();
}

CMTime CMSampleBufferGetPresentationTimeStamp(CMSampleBufferRef sample) {
  return Check(sample, "CMSampleBufferGetPresentationTimeStamp").pts;
}

CMTime CMSampleBufferGetDecodeTimeStamp(CMSampleBufferRef sample) {
  return Check(sample, "CMSampleBufferGetDecodeTimeStamp").dts;
}

CMTime CMSampleBufferGetDuration(CMSampleBufferRef sample) {
  return Check(sample, "CMSampleBufferGetDuration").duration;
}
