#pragma once

#include <napi.h>

#include <memory>

#include "../encoder/session.h"

namespace vsockenc {

// A Session in JavaScript: what host/encoders/native-session.ts calls NativeSession.
class SessionBinding : public Napi::ObjectWrap<SessionBinding> {
 public:
  static void Register(Napi::Env env, Napi::Object exports);

  // new (settings, onEvent). The object keeps itself alive until join() has settled.
  explicit SessionBinding(const Napi::CallbackInfo &info);
  ~SessionBinding() override;

 private:
  Napi::Value Encode(const Napi::CallbackInfo &info);
  Napi::Value Reconfigure(const Napi::CallbackInfo &info);
  Napi::Value Mark(const Napi::CallbackInfo &info);
  Napi::Value Flush(const Napi::CallbackInfo &info);
  Napi::Value Close(const Napi::CallbackInfo &info);
  Napi::Value Join(const Napi::CallbackInfo &info);

  class EventPoster;
  class JoinWorker;

  bool takes_surfaces_ = false;  // its encoder reads IOSurfaces as they are
  std::unique_ptr<EventPoster> poster_;
  std::unique_ptr<Session> session_;  // after poster_, which its thread uses to the end
};

}  // namespace vsockenc
