// Which properties a compression session has, and what values they take.
#pragma once

#include <VideoToolbox/VideoToolbox.h>

#include "cf_types.h"
#include "encoder_catalog.h"

namespace vt_shim {

// Whether an encoder takes this value: noErr or the error that VTSessionSetProperty gives. A value
// of the wrong kind, and a number outside of anything plausible (bits of a double read as an
// integer), end the process. NULL is allowed.
OSStatus CheckProperty(const EncoderEntry &encoder, const SessionPlan &plan, CFStringRef key,
                       CFTypeRef value);

// noErr, or the error of VTSessionCopyProperty.
OSStatus CheckReadable(const EncoderEntry &encoder, const SessionPlan &plan, CFStringRef key);

// What VTSessionCopySupportedPropertyDictionary gives.
Ref<__CFDictionary> DescribeProperties(const EncoderEntry &encoder, const SessionPlan &plan);

}  // namespace vt_shim
