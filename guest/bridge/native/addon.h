// The parts of gst.node; guest/bridge/gst.ts has their types.
#ifndef VSOCKENC_GUEST_BRIDGE_NATIVE_ADDON_H_
#define VSOCKENC_GUEST_BRIDGE_NATIVE_ADDON_H_

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

// createInputDevice(descriptor, { name, keys, relative, absolute, absoluteMaximum, properties }):
// codes of linux/input-event-codes.h by kind. `descriptor` is /dev/uinput, open for writing; the
// device exists until it is closed. The steps follow the kernel's input/uinput.rst.
void CreateInputDevice(const Napi::CallbackInfo &info);

}  // namespace vsockenc

#endif  // VSOCKENC_GUEST_BRIDGE_NATIVE_ADDON_H_
