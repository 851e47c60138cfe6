// What the parts of os.node share: C++ functions as functions of JavaScript.
#pragma once

#include <napi.h>

#include <memory>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include "../platform/platform.h"

namespace vsockenc {

// An argument of a call. Its type is right, as os-addon.ts declares it.
template <typename T>
T Argument(const Napi::Value &value) {
  if constexpr (std::is_base_of_v<Napi::Value, T>) {
    return value.As<T>();
  } else if constexpr (std::is_same_v<T, std::string>) {
    return value.As<Napi::String>();
  } else {
    return static_cast<T>(value.As<Napi::Number>().Int64Value());
  }
}

// A result for JavaScript: numbers, texts, null for an empty optional, descriptors as numbers.
template <typename T>
Napi::Value ToJavaScript(Napi::Env env, T result) {
  if constexpr (requires { result.has_value(); }) {
    return result ? ToJavaScript(env, *std::move(result)) : env.Null();
  } else if constexpr (std::is_same_v<T, Descriptor>) {
    return Napi::Number::New(env, result.Take());
  } else {
    return Napi::Value::From(env, result);
  }
}

// Calls body with the arguments of a call. Its exceptions become JavaScript's: a std::system_error
// is an Error whose `errno` is the number.
template <typename... Arguments, typename Body>
Napi::Value Invoke(const Napi::CallbackInfo &info, Body body) {
  const Napi::Env env = info.Env();
  try {
    return [&]<size_t... index>(std::index_sequence<index...>)->Napi::Value {
      const auto call = [&] { return body(Argument<std::decay_t<Arguments>>(info[index])...); };
      if constexpr (std::is_void_v<decltype(call())>) {
        call();
        return env.Undefined();
      } else {
        return ToJavaScript(env, call());
      }
    }
    (std::index_sequence_for<Arguments...>());
  } catch (const Napi::Error &) {
    throw;
  } catch (const std::system_error &error) {
    Napi::Error translated = Napi::Error::New(env, error.what());
    translated.Set("errno", static_cast<double>(error.code().value()));
    throw translated;
  } catch (const std::exception &error) {
    throw Napi::Error::New(env, error.what());
  }
}

// Exports function(env, arguments…).
template <typename Result, typename... Arguments>
void Export(Napi::Object exports, const char *name, Result (*function)(Napi::Env, Arguments...)) {
  const auto call = [function](const Napi::CallbackInfo &info) {
    return Invoke<Arguments...>(info, [&](const std::decay_t<Arguments> &...arguments) {
      return function(info.Env(), arguments...);
    });
  };
  exports.Set(name, Napi::Function::New(exports.Env(), call, name));
}

// A JavaScript class around the T that `create` makes of the constructor's arguments.
template <typename T, std::shared_ptr<T> (*create)(const Napi::CallbackInfo &)>
class Wrapper : public Napi::ObjectWrap<Wrapper<T, create>> {
 public:
  explicit Wrapper(const Napi::CallbackInfo &info) : Napi::ObjectWrap<Wrapper>(info) {
    Invoke(info, [&] { held_ = create(info); });
  }

  // Throws after close().
  const std::shared_ptr<T> &held() const {
    if (!held_) throw std::runtime_error("the object is closed");
    return held_;
  }

  // A method of the class that calls function(T &, env, arguments…).
  template <auto function>
  static auto Method(const char *name) {
    return Wrapper::template InstanceMethod<&Wrapper::Call<function>>(name);
  }

  // close(): releases the T; does not wait for the garbage collector.
  static auto CloseMethod() { return Wrapper::template InstanceMethod<&Wrapper::Close>("close"); }

 private:
  template <auto function>
  Napi::Value Call(const Napi::CallbackInfo &info) {
    return CallWith(info, function);
  }
  template <typename Result, typename... Arguments>
  Napi::Value CallWith(const Napi::CallbackInfo &info,
                       Result (*function)(T &, Napi::Env, Arguments...)) {
    return Invoke<Arguments...>(info, [&](const std::decay_t<Arguments> &...arguments) {
      return function(*held(), info.Env(), arguments...);
    });
  }
  void Close(const Napi::CallbackInfo &) { held_.reset(); }

  std::shared_ptr<T> held_;
};

// A thread that waits in poll(2) for every watched descriptor; poller.cc.
void RegisterPoller(Napi::Object exports);

// UNIX and vsock stream sockets that carry descriptors, and the descriptors that serve as
// doorbells: one non-blocking system call each. Queues, framing and ownership are host/native/*.ts.
void RegisterSockets(Napi::Object exports);

// A filter of system calls for the process; system_calls.cc.
void RegisterSystemCalls(Napi::Object exports);

}  // namespace vsockenc
