// What the parts of os.node share.
#ifndef VSOCKENC_HOST_NATIVE_OS_ADDON_H_
#define VSOCKENC_HOST_NATIVE_OS_ADDON_H_

#include <napi.h>

#include <cerrno>
#include <string>
#include <system_error>

namespace vsockenc {

// Error whose `errno` is the number, and whose message is "what: text of the number".
inline Napi::Error SystemError(Napi::Env env, const std::string &what, int number) {
  Napi::Error error = Napi::Error::New(env, what + ": " + std::generic_category().message(number));
  error.Set("errno", Napi::Number::New(env, number));
  return error;
}

// The descriptor that a system call has returned, or its error.
inline Napi::Value DescriptorOrError(Napi::Env env, int fd, const char *what) {
  if (fd < 0) throw SystemError(env, what, errno);
  return Napi::Number::New(env, fd);
}

// A thread that waits in poll(2) for every watched descriptor; poller.cc.
void RegisterPoller(Napi::Env env, Napi::Object exports);

// UNIX and vsock stream sockets that carry descriptors, and the descriptors that serve as
// doorbells: one non-blocking system call each. Queues, framing and ownership are host/native/*.ts.
void RegisterSockets(Napi::Env env, Napi::Object exports);

// GuestMemory and Virtqueue as JavaScript classes, and the functions of shareable memory. Bytes are
// always copied; no ArrayBuffer refers to guest memory.
void RegisterMemory(Napi::Env env, Napi::Object exports);

}  // namespace vsockenc

#endif  // VSOCKENC_HOST_NATIVE_OS_ADDON_H_
