// Properties of elements as JavaScript values, and back.
#ifndef VSOCKENC_GUEST_BRIDGE_NATIVE_VALUES_H_
#define VSOCKENC_GUEST_BRIDGE_NATIVE_VALUES_H_

#include <gst/gst.h>
#include <napi.h>

#include <string>

namespace vsockenc {

// Throws PipelineError "property" when there is none of that name, or it cannot be read.
// A structure becomes an object, an enum its nick, 64-bit numbers a double; what has no like is
// given in the text form of GStreamer, or null.
Napi::Value GetProperty(Napi::Env env, GstElement *element, const std::string &name);

// Throws PipelineError "property" that says what the property takes. A string is read as in a
// pipeline's text, so it does for enums, caps and whatever else has a text form.
void SetProperty(GstElement *element, const std::string &name, const Napi::Value &value);

}  // namespace vsockenc

#endif  // VSOCKENC_GUEST_BRIDGE_NATIVE_VALUES_H_
