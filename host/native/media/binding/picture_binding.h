#pragma once

#include <napi.h>

#include <memory>

#include "../memory/pixel_memory.h"
#include "../picture/picture.h"

namespace vsockenc {

// NativeLayout of host/native/picture.ts. Throws PictureError.
PictureLayout ReadLayout(const Napi::Object &from);

// The budget in a value of newBudget(). On the JavaScript thread only.
std::shared_ptr<Budget> BudgetOf(const Napi::Value &value);

// An Error with the code by which host/native/picture.ts finds the class.
Napi::Error PictureErrorObject(Napi::Env env, const PictureError &error);

// A Picture in JavaScript: NativePicture of host/native/picture.ts.
class PictureBinding : public Napi::ObjectWrap<PictureBinding> {
 public:
  static void Register(Napi::Env env, Napi::Object exports);
  // A JavaScript object that holds the picture. On the JavaScript thread only.
  static Napi::Object Wrap(Napi::Env env, std::shared_ptr<Picture> picture);
  // The picture in a JavaScript value. Throws Napi::TypeError for any other value, or if it is
  // closed.
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
