// Properties of elements as JavaScript values, and back.
#ifndef VSOCKENC_GUEST_BRIDGE_NATIVE_VALUES_H_
#define VSOCKENC_GUEST_BRIDGE_NATIVE_VALUES_H_

#include <gst/gst.h>
#include <napi.h>

#include <string>

namespace vsockenc {

// Throws PipelineError "property" if it does not exist or is write-only. A structure becomes an
// object, an enum its nick, a 64-bit number a double; other types become GStreamer's text, or null.
Napi::Value GetProperty(Napi::Env env, GstElement *element, const std::string &name);

// Throws PipelineError "property" with the accepted values. A string is parsed as in a pipeline's
// text, so it works for enums, caps and every other type with a text form.
void SetProperty(GstElement *element, const std::string &name, const Napi::Value &value);

}  // namespace vsockenc

#endif  // VSOCKENC_GUEST_BRIDGE_NATIVE_VALUES_H_
