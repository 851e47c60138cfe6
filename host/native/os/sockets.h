// UNIX stream sockets that carry descriptors, and the descriptors that serve as doorbells. Thin:
// one non-blocking system call each. Queues, framing and ownership are TypeScript's
// (host/native/*.ts).
#ifndef VSOCKENC_HOST_NATIVE_OS_SOCKETS_H_
#define VSOCKENC_HOST_NATIVE_OS_SOCKETS_H_

#include <napi.h>

namespace vsockenc {

void RegisterSockets(Napi::Env env, Napi::Object exports);

}  // namespace vsockenc

#endif  // VSOCKENC_HOST_NATIVE_OS_SOCKETS_H_
