#include <linux/uinput.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <system_error>

#include "addon.h"

namespace vsockenc {
namespace {

void Check(Napi::Env env, int result, const char *what) {
  if (result >= 0) return;
  const int number = errno;
  Napi::Error error =
      Napi::Error::New(env, std::string(what) + ": " + std::generic_category().message(number));
  error.Set("errno", Napi::Number::New(env, number));
  throw error;
}

template <typename Each>
void ForEach(const Napi::Object &options, const char *name, Each each) {
  const Napi::Array codes = options.Get(name).As<Napi::Array>();
  for (uint32_t i = 0; i < codes.Length(); i++) {
    const Napi::Value code = codes[i];
    each(code.As<Napi::Number>().Uint32Value());
  }
}

// createInputDevice(descriptor, { name, keys, relative, absolute, absoluteMaximum, properties }):
// codes of linux/input-event-codes.h by kind. `descriptor` is /dev/uinput, open for writing; the
// device exists until it is closed. The steps follow the kernel's input/uinput.rst.
void CreateInputDevice(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const int fd = info[0].As<Napi::Number>().Int32Value();
  const auto options = info[1].As<Napi::Object>();
  const auto enable = [&](unsigned long request, uint32_t code, const char *what) {
    Check(env, ioctl(fd, request, code), what);
  };
  enable(UI_SET_EVBIT, EV_SYN, "UI_SET_EVBIT");
  ForEach(options, "keys", [&](uint32_t code) {
    enable(UI_SET_EVBIT, EV_KEY, "UI_SET_EVBIT");
    enable(UI_SET_KEYBIT, code, "UI_SET_KEYBIT");
  });
  ForEach(options, "relative", [&](uint32_t code) {
    enable(UI_SET_EVBIT, EV_REL, "UI_SET_EVBIT");
    enable(UI_SET_RELBIT, code, "UI_SET_RELBIT");
  });
  ForEach(options, "absolute", [&](uint32_t code) {
    enable(UI_SET_EVBIT, EV_ABS, "UI_SET_EVBIT");
    uinput_abs_setup axis = {};
    axis.code = static_cast<uint16_t>(code);
    axis.absinfo.maximum = options.Get("absoluteMaximum").As<Napi::Number>().Int32Value();
    Check(env, ioctl(fd, UI_ABS_SETUP, &axis), "UI_ABS_SETUP");
  });
  ForEach(options, "properties",
          [&](uint32_t code) { enable(UI_SET_PROPBIT, code, "UI_SET_PROPBIT"); });

  uinput_setup setup = {};
  setup.id.bustype = BUS_VIRTUAL;
  const std::string name = options.Get("name").As<Napi::String>().Utf8Value();
  name.copy(setup.name, sizeof setup.name - 1);
  Check(env, ioctl(fd, UI_DEV_SETUP, &setup), "UI_DEV_SETUP");
  Check(env, ioctl(fd, UI_DEV_CREATE), "UI_DEV_CREATE");
}

}  // namespace

void RegisterUinput(Napi::Env env, Napi::Object exports) {
  exports.Set("createInputDevice", Napi::Function::New(env, CreateInputDevice));
}

}  // namespace vsockenc
