#pragma once

#include <napi.h>

#include <memory>

#include "../picture/picture.h"

namespace vsockenc {

// A Picture in JavaScript: what host/native/picture.ts calls NativePicture.
class PictureBinding : public Napi::ObjectWrap<PictureBinding> {
 public:
  static void Register(Napi::Env env, Napi::Object exports);
  // A JavaScript object that holds the picture. On the JavaScript thread only.
  static Napi::Object Wrap(Napi::Env env, std::shared_ptr<Picture> picture);
  // The picture in a JavaScript value. Throws Napi::TypeError when there is none, or it is closed.
  static std::shared_ptr<Picture> Share(Napi::Value value);

  explicit PictureBinding(const Napi::CallbackInfo &info);

 private:
  Napi::Value Write(const Napi::CallbackInfo &info);
  Napi::Value IsIdle(const Napi::CallbackInfo &info);
  Napi::Value Checksum(const Napi::CallbackInfo &info);
  Napi::Value Close(const Napi::CallbackInfo &info);

  std::shared_ptr<Picture> picture_;
};

}  // namespace vsockenc
