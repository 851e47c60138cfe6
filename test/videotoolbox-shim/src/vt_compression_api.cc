// The C functions of VTCompressionSession.h.
#include "compression_session.h"
#include "counters.h"

using vt_shim::Check;
using vt_shim::Ref;

namespace {

// What the client asked its buffers to be; the encoder's own format where it did not say.
Ref<__CVPixelBufferPool> MakePool(int32_t width, int32_t height, CFDictionaryRef wanted) {
  auto attributes = Ref<__CFDictionary>::Adopt(new __CFDictionary(true));
  const auto set_number = [&](CFStringRef key, int64_t value) {
    attributes->Set(key, Ref<__CFNumber>::Adopt(vt_shim::NewNumber(value)).get());
  };
  if (wanted != nullptr) {
    attributes->entries = Check(wanted, "VTCompressionSessionCreate").entries;
  }
  // A list of formats is allowed: the first is taken.
  const auto *formats = vt_shim::As<__CFArray>(attributes->Find(kCVPixelBufferPixelFormatTypeKey));
  if (formats != nullptr && !formats->values.empty()) {
    const vt_shim::AnyRef first = formats->values.front();
    attributes->Set(kCVPixelBufferPixelFormatTypeKey, first.get());
  }
  if (attributes->Find(kCVPixelBufferPixelFormatTypeKey) == nullptr) {
    set_number(kCVPixelBufferPixelFormatTypeKey, kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange);
  }
  set_number(kCVPixelBufferWidthKey, width);
  set_number(kCVPixelBufferHeightKey, height);
  const auto empty = Ref<__CFDictionary>::Adopt(new __CFDictionary(false));
  attributes->Set(kCVPixelBufferIOSurfacePropertiesKey, empty.get());
  CVPixelBufferPoolRef pool = nullptr;
  CVPixelBufferPoolCreate(nullptr, nullptr, attributes.get(), &pool);
  return Ref<__CVPixelBufferPool>::Adopt(pool);
}

}  // namespace

CFTypeID VTCompressionSessionGetTypeID(void) {
  return vt_shim::kTypeOf<OpaqueVTCompressionSession>.id;
}

OSStatus VTCompressionSessionCreate(CFAllocatorRef, int32_t width, int32_t height,
                                    CMVideoCodecType codec, CFDictionaryRef encoder_specification,
                                    CFDictionaryRef source_image_buffer_attributes, CFAllocatorRef,
                                    VTCompressionOutputCallback callback, void *output_refcon,
                                    VTCompressionSessionRef *session) {
  if (session == nullptr || callback == nullptr || width <= 0 || height <= 0) {
    return kVTParameterErr;
  }
  *session = nullptr;
  const vt_shim::SessionPlan plan = vt_shim::NextSessionPlan();
  const auto choice = vt_shim::ChooseEncoder(width, height, codec, encoder_specification, plan);
  if (plan.refusal != noErr || choice.entry == nullptr) {
    ++vt_shim::Count().sessions_refused;
    return plan.refusal != noErr ? plan.refusal : choice.status;
  }
  auto pool = MakePool(width, height, source_image_buffer_attributes);
  if (!pool) {
    return kVTParameterErr;
  }
  *session = new OpaqueVTCompressionSession(*choice.entry, {width, height}, plan, callback,
                                            output_refcon, std::move(pool));
  ++vt_shim::Count().sessions_created;
  return noErr;
}

void VTCompressionSessionInvalidate(VTCompressionSessionRef session) {
  Check(session, "VTCompressionSessionInvalidate").Invalidate();
}

CVPixelBufferPoolRef VTCompressionSessionGetPixelBufferPool(VTCompressionSessionRef session) {
  return Check(session, "VTCompressionSessionGetPixelBufferPool").Pool();
}

OSStatus VTCompressionSessionPrepareToEncodeFrames(VTCompressionSessionRef session) {
  return Check(session, "VTCompressionSessionPrepareToEncodeFrames").Prepare();
}

OSStatus VTCompressionSessionEncodeFrame(VTCompressionSessionRef session, CVImageBufferRef image,
                                         CMTime pts, CMTime duration,
                                         CFDictionaryRef frame_properties, void *frame_refcon,
                                         VTEncodeInfoFlags *flags) {
  return Check(session, "VTCompressionSessionEncodeFrame")
      .EncodeFrame(image, pts, duration, frame_properties, frame_refcon, flags);
}

OSStatus VTCompressionSessionCompleteFrames(VTCompressionSessionRef session,
                                            CMTime complete_until) {
  return Check(session, "VTCompressionSessionCompleteFrames").CompleteFrames(complete_until);
}
