// System errors as JavaScript errors with `code`, as Node's own have it.
#ifndef VSOCKENC_HOST_NATIVE_OS_ERRORS_H_
#define VSOCKENC_HOST_NATIVE_OS_ERRORS_H_

#include <napi.h>

#include <string>
#include <system_error>

namespace vsockenc {

// Error whose `errno` is the number and whose message is "what: text of the number".
inline Napi::Error SystemError(Napi::Env env, const std::string &what, int number) {
  const std::string text = std::generic_category().message(number);
  Napi::Error error = Napi::Error::New(env, what + ": " + text);
  error.Set("errno", Napi::Number::New(env, number));
  return error;
}

}  // namespace vsockenc

#endif  // VSOCKENC_HOST_NATIVE_OS_ERRORS_H_
