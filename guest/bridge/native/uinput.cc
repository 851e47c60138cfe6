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

constexpr struct {
  const char *option;
  uint32_t type;
  unsigned long request;
} kKinds[] = {{"keys", EV_KEY, UI_SET_KEYBIT},
              {"relative", EV_REL, UI_SET_RELBIT},
              {"absolute", EV_ABS, 0},
              {"properties", EV_SYN, UI_SET_PROPBIT}};

}  // namespace

void CreateInputDevice(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const int fd = info[0].As<Napi::Number>().Int32Value();
  const auto options = info[1].As<Napi::Object>();
  for (const auto &[option, type, request] : kKinds) {
    const auto codes = options.Get(option).As<Napi::Array>();
    for (uint32_t i = 0; i < codes.Length(); i++) {
      const uint32_t code = codes.Get(i).As<Napi::Number>().Uint32Value();
      Check(env, ioctl(fd, UI_SET_EVBIT, type), "UI_SET_EVBIT");
      if (type != EV_ABS) {
        Check(env, ioctl(fd, request, code), option);
        continue;
      }
      uinput_abs_setup axis = {};
      axis.code = static_cast<uint16_t>(code);
      axis.absinfo.maximum = options.Get("absoluteMaximum").As<Napi::Number>().Int32Value();
      Check(env, ioctl(fd, UI_ABS_SETUP, &axis), "UI_ABS_SETUP");
    }
  }

  uinput_setup setup = {};
  setup.id.bustype = BUS_VIRTUAL;
  const std::string name = options.Get("name").As<Napi::String>().Utf8Value();
  name.copy(setup.name, sizeof setup.name - 1);
  Check(env, ioctl(fd, UI_DEV_SETUP, &setup), "UI_DEV_SETUP");
  Check(env, ioctl(fd, UI_DEV_CREATE), "UI_DEV_CREATE");
}

}  // namespace vsockenc
