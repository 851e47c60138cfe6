#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "../platform/platform.h"
#include "addon.h"
#include "guest_memory.h"

namespace vsockenc {

namespace {

// Descriptors in one message: vhost-user's memory table has at most 8 regions.
constexpr size_t kMaxDescriptors = 8;
constexpr int kBacklog = 16;

bool WouldBlock(int number) {
  return number == EAGAIN || number == EWOULDBLOCK;
}

int Fd(const Napi::CallbackInfo &info) {
  return info[0].As<Napi::Number>().Int32Value();
}

Descriptor StreamSocket(Napi::Env env) {
  Descriptor fd(platform::OpenSocket(AF_UNIX));
  if (fd.get() < 0) throw SystemError(env, "socket", errno);
  return fd;
}

sockaddr_un Address(Napi::Env env, const std::string &path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    throw SystemError(env, "socket path", ENAMETOOLONG);
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

// listen(path) → fd. The socket file has mode 0600 from the start.
Napi::Value Listen(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  const sockaddr_un address = Address(env, info[0].As<Napi::String>().Utf8Value());
  Descriptor fd = StreamSocket(env);
  const mode_t mask = umask(S_IRWXG | S_IRWXO | S_IXUSR);
  const int result = bind(fd.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address);
  const int number = errno;
  umask(mask);
  if (result != 0) throw SystemError(env, "bind", number);
  if (listen(fd.get(), kBacklog) != 0) throw SystemError(env, "listen", errno);
  return Napi::Number::New(env, fd.Take());
}

// connect(path) → fd. A UNIX socket connects at once or not at all (EAGAIN: the backlog is full).
Napi::Value Connect(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  const sockaddr_un address = Address(env, info[0].As<Napi::String>().Utf8Value());
  Descriptor fd = StreamSocket(env);
  if (connect(fd.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address) != 0) {
    throw SystemError(env, "connect", errno);
  }
  return Napi::Number::New(env, fd.Take());
}

// accept(fd) → fd, or null if no connection waits.
Napi::Value Accept(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  Descriptor fd(platform::Accept(Fd(info)));
  if (fd.get() < 0) {
    if (WouldBlock(errno) || errno == EINTR || errno == ECONNABORTED) return env.Null();
    throw SystemError(env, "accept", errno);
  }
  return Napi::Number::New(env, fd.Take());
}

// adopt(fd) → "listening", "connected" or "other"; makes it non-blocking and closed on exec.
Napi::Value Adopt(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  int type = 0;
  socklen_t length = sizeof type;
  if (getsockopt(Fd(info), SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != SOCK_STREAM) {
    return Napi::String::New(env, "other");
  }
  platform::Adopt(Fd(info));
  int listening = 0;
  length = sizeof listening;
  getsockopt(Fd(info), SOL_SOCKET, SO_ACCEPTCONN, &listening, &length);
  return Napi::String::New(env, listening != 0 ? "listening" : "connected");
}

// peerUser(fd) → user id of the process at the other end.
Napi::Value PeerUser(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  uid_t user = 0;
  if (platform::PeerUser(Fd(info), &user) != 0) throw SystemError(env, "peer's user", errno);
  return Napi::Number::New(env, user);
}

// listenVsock(port) → fd, for connections from every guest and from this machine.
Napi::Value ListenVsock(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  Descriptor fd(platform::BindVsock(info[0].As<Napi::Number>().Uint32Value()));
  if (fd.get() < 0) throw SystemError(env, "bind", errno);
  if (listen(fd.get(), kBacklog) != 0) throw SystemError(env, "listen", errno);
  return Napi::Number::New(env, fd.Take());
}

// peerCid(fd) → context id of the machine at the other end of a vsock connection.
Napi::Value PeerCid(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  uint32_t cid = 0;
  if (platform::PeerCid(Fd(info), &cid) != 0) throw SystemError(env, "getpeername", errno);
  return Napi::Number::New(env, cid);
}

// send(fd, bytes, offset, descriptors) → bytes sent, or null if the socket's buffer is full.
Napi::Value Send(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  auto bytes = info[1].As<Napi::Uint8Array>();
  const auto offset = static_cast<size_t>(info[2].As<Napi::Number>().Int64Value());
  const auto descriptors = info[3].As<Napi::Array>();
  if (offset >= bytes.ByteLength() || descriptors.Length() > kMaxDescriptors) {
    throw Napi::RangeError::New(env, "send: no bytes, or too many descriptors");
  }
  iovec part{bytes.Data() + offset, bytes.ByteLength() - offset};
  alignas(cmsghdr) std::array<unsigned char, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (descriptors.Length() > 0) {
    const size_t length = descriptors.Length() * sizeof(int);
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(length);
    cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(length);
    for (uint32_t i = 0; i < descriptors.Length(); i++) {
      const int fd = descriptors.Get(i).As<Napi::Number>().Int32Value();
      std::memcpy(CMSG_DATA(header) + i * sizeof(int), &fd, sizeof fd);
    }
  }
  ssize_t sent = 0;
  do {
    sent = platform::Send(Fd(info), message);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) {
    if (WouldBlock(errno)) return env.Null();
    throw SystemError(env, "sendmsg", errno);
  }
  return Napi::Number::New(env, static_cast<double>(sent));
}

// receive(fd, buffer, offset, length) → null if nothing has arrived, else {bytes, descriptors};
// bytes is 0 at the end. More descriptors than kMaxDescriptors: closes all of them and throws.
Napi::Value Receive(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  auto buffer = info[1].As<Napi::Uint8Array>();
  const auto offset = static_cast<size_t>(info[2].As<Napi::Number>().Int64Value());
  const auto length = static_cast<size_t>(info[3].As<Napi::Number>().Int64Value());
  if (length == 0 || offset > buffer.ByteLength() || length > buffer.ByteLength() - offset) {
    throw Napi::RangeError::New(env, "receive: the range is outside the buffer");
  }
  iovec part{buffer.Data() + offset, length};
  alignas(cmsghdr) std::array<unsigned char, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t received = 0;
  do {
    received = platform::Receive(Fd(info), &message);
  } while (received < 0 && errno == EINTR);
  if (received < 0) {
    if (WouldBlock(errno)) return env.Null();
    throw SystemError(env, "recvmsg", errno);
  }
  std::vector<Descriptor> descriptors;
  for (cmsghdr *header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      descriptors.emplace_back(fd);
    }
  }
  if ((message.msg_flags & MSG_CTRUNC) != 0) {
    throw Napi::Error::New(
        env, "a message with more than " + std::to_string(kMaxDescriptors) + " descriptors");
  }
  Napi::Array list = Napi::Array::New(env, descriptors.size());
  for (uint32_t i = 0; i < descriptors.size(); i++) list.Set(i, descriptors[i].get());
  Napi::Object result = Napi::Object::New(env);
  result.Set("bytes", Napi::Number::New(env, static_cast<double>(received)));
  result.Set("descriptors", list);
  for (Descriptor &descriptor : descriptors) descriptor.Take();
  return result;
}

// closeDescriptor(fd)
void CloseDescriptor(const Napi::CallbackInfo &info) {
  close(Fd(info));
}

// The doorbells of virtqueues are eventfds where QEMU has them, elsewhere pipes (QEMU
// util/event_notifier-posix.c). Either is rung by writing eight bytes.

// ringDoorbell(fd). A full one has been rung already; one whose listener has closed needs no ring.
void RingDoorbell(const Napi::CallbackInfo &info) {
  const uint64_t one = 1;
  ssize_t written = 0;
  do {
    written = write(Fd(info), &one, sizeof one);
  } while (written < 0 && errno == EINTR);
  if (written < 0 && !WouldBlock(errno) && errno != EPIPE) {
    throw SystemError(info.Env(), "ringing a doorbell", errno);
  }
}

// clearDoorbell(fd) → false if the other end is closed. Takes all rings so far; the next poll finds
// those that come meanwhile.
Napi::Value ClearDoorbell(const Napi::CallbackInfo &info) {
  // An eventfd gives its eight bytes once. A pipe is read until it is empty, but not for ever if
  // the other end keeps writing: this is twice what a pipe holds on Linux and Darwin.
  constexpr int kReads = 256;
  std::array<char, 512> rings{};
  for (int i = 0; i < kReads; i++) {
    const ssize_t count = read(Fd(info), rings.data(), rings.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && !WouldBlock(errno))
      throw SystemError(info.Env(), "clearing a doorbell", errno);
    if (count == 0) return Napi::Boolean::New(info.Env(), false);
    if (count < static_cast<ssize_t>(rings.size())) break;
  }
  return Napi::Boolean::New(info.Env(), true);
}

// setNonBlocking(fd)
void SetNonBlocking(const Napi::CallbackInfo &info) {
  platform::Adopt(Fd(info));
}

}  // namespace

void RegisterSockets(Napi::Env env, Napi::Object exports) {
  exports.Set("maxPathBytes", Napi::Number::New(env, sizeof(sockaddr_un::sun_path) - 1));
  exports.Set("listen", Napi::Function::New(env, Listen));
  exports.Set("connect", Napi::Function::New(env, Connect));
  exports.Set("accept", Napi::Function::New(env, Accept));
  exports.Set("adopt", Napi::Function::New(env, Adopt));
  exports.Set("peerUser", Napi::Function::New(env, PeerUser));
  exports.Set("listenVsock", Napi::Function::New(env, ListenVsock));
  exports.Set("peerCid", Napi::Function::New(env, PeerCid));
  exports.Set("send", Napi::Function::New(env, Send));
  exports.Set("receive", Napi::Function::New(env, Receive));
  exports.Set("closeDescriptor", Napi::Function::New(env, CloseDescriptor));
  exports.Set("ringDoorbell", Napi::Function::New(env, RingDoorbell));
  exports.Set("clearDoorbell", Napi::Function::New(env, ClearDoorbell));
  exports.Set("setNonBlocking", Napi::Function::New(env, SetNonBlocking));
}

}  // namespace vsockenc
