#pragma once

#include <napi.h>

namespace vsockenc {

// Adds the class NativeSession (host/encoders/native.ts): a Session in JavaScript.
void RegisterSession(Napi::Env env, Napi::Object exports);

}  // namespace vsockenc
