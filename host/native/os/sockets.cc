#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "addon.h"

namespace vsockenc {

namespace {

// Descriptors in one message: vhost-user's memory table has at most 8 regions.
constexpr size_t kMaxDescriptors = 8;
constexpr int kBacklog = 16;

bool WouldBlock() {
  return errno == EAGAIN || errno == EWOULDBLOCK;
}

// The result of a system call that is repeated while a signal interrupts it.
template <typename Call>
ssize_t Uninterrupted(Call call) {
  ssize_t result = 0;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result;
}

sockaddr_un Address(const std::string &path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    ThrowErrno("socket path");
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

Descriptor Listening(Descriptor fd) {
  Check(listen(fd.get(), kBacklog), "listen");
  return fd;
}

// listen(path) → fd. The socket file has mode 0600 from the start.
Descriptor Listen(Napi::Env, const std::string &path) {
  const sockaddr_un address = Address(path);
  Descriptor fd(Check(platform::OpenSocket(AF_UNIX), "socket"));
  const mode_t mask = umask(S_IRWXG | S_IRWXO | S_IXUSR);
  const int result = bind(fd.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address);
  // umask(2) never fails, and leaves errno as it is.
  umask(mask);
  Check(result, "bind");
  return Listening(std::move(fd));
}

// connect(path) → fd. A UNIX socket connects at once or not at all (EAGAIN: the backlog is full).
Descriptor Connect(Napi::Env, const std::string &path) {
  const sockaddr_un address = Address(path);
  Descriptor fd(Check(platform::OpenSocket(AF_UNIX), "socket"));
  Check(connect(fd.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address), "connect");
  return fd;
}

// accept(fd) → fd, or null if no connection waits.
std::optional<Descriptor> Accept(Napi::Env, int fd) {
  Descriptor connection(platform::Accept(fd));
  if (connection.get() >= 0) return connection;
  if (WouldBlock() || errno == EINTR || errno == ECONNABORTED) return std::nullopt;
  ThrowErrno("accept");
}

// adopt(fd) → "listening", "connected" or "other"; makes it non-blocking and closed on exec.
std::string Adopt(Napi::Env, int fd) {
  int type = 0;
  socklen_t length = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != SOCK_STREAM) {
    return "other";
  }
  platform::Adopt(fd);
  int listening = 0;
  length = sizeof listening;
  getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length);
  return listening != 0 ? "listening" : "connected";
}

// peerUser(fd) → user id of the process at the other end.
uid_t PeerUser(Napi::Env, int fd) {
  uid_t user = 0;
  Check(platform::PeerUser(fd, &user), "peer's user");
  return user;
}

// peerProcess(fd) → id of the process at the other end: the one that called listen or connect. 0:
// not one that this process can see.
pid_t PeerProcess(Napi::Env, int fd) {
  pid_t process = 0;
  Check(platform::PeerProcess(fd, &process), "peer's process");
  return process;
}

// listenVsock(port) → fd, for connections from every guest and from this machine.
Descriptor ListenVsock(Napi::Env, uint32_t port) {
  return Listening(Descriptor(Check(platform::BindVsock(port), "bind")));
}

// listenTcp(address, port) → fd. The address is a number of either family; port 0 takes a free one.
Descriptor ListenTcp(Napi::Env, const std::string &address, uint32_t port) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo *found = nullptr;
  if (const int error = getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found);
      error != 0) {
    throw std::runtime_error(gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  Descriptor fd(Check(platform::OpenSocket(found->ai_family), "socket"));
  const int on = 1;
  // An address whose last connections still linger can be taken at once.
  Check(setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "SO_REUSEADDR");
  // Accepted connections inherit it.
  Check(setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
  Check(bind(fd.get(), found->ai_addr, found->ai_addrlen), "bind");
  return Listening(std::move(fd));
}

// peerAddress(fd) → "ADDRESS:PORT" of the other end of a TCP connection.
std::string PeerAddress(Napi::Env, int fd) {
  sockaddr_storage storage{};
  auto *address = reinterpret_cast<sockaddr *>(&storage);
  socklen_t length = sizeof storage;
  Check(getpeername(fd, address, &length), "getpeername");
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  if (const int error = getnameinfo(address, length, host.data(), host.size(), port.data(),
                                    port.size(), NI_NUMERICHOST | NI_NUMERICSERV);
      error != 0) {
    throw std::runtime_error(gai_strerror(error));
  }
  return std::string(host.data()) + ":" + port.data();
}

// socketPair() → two connected descriptors.
Napi::Value SocketPair(Napi::Env env) {
  std::array<int, 2> ends{};
  Check(socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), "socketpair");
  Napi::Array result = Napi::Array::New(env, ends.size());
  for (uint32_t i = 0; i < ends.size(); i++) {
    platform::Adopt(ends[i]);
    result.Set(i, ends[i]);
  }
  return result;
}

// peerCid(fd) → context id of the machine at the other end of a vsock connection.
uint32_t PeerCid(Napi::Env, int fd) {
  uint32_t cid = 0;
  Check(platform::PeerCid(fd, &cid), "getpeername");
  return cid;
}

// A message of one part, with room for kMaxDescriptors.
struct Message {
  Message(uint8_t *bytes, size_t length) : part{bytes, length} {
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
  }

  iovec part;
  alignas(cmsghdr) std::array<unsigned char, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
  msghdr header{};
};

// send(fd, bytes, offset, descriptors) → bytes sent, or null if the socket's buffer is full.
std::optional<double> Send(Napi::Env env, int fd, Napi::Uint8Array bytes, size_t offset,
                           Napi::Array descriptors) {
  const uint32_t count = descriptors.Length();
  if (offset >= bytes.ByteLength() || count > kMaxDescriptors) {
    throw Napi::RangeError::New(env, "send: no bytes, or too many descriptors");
  }
  Message message(bytes.Data() + offset, bytes.ByteLength() - offset);
  message.header.msg_controllen = count == 0 ? 0 : CMSG_SPACE(count * sizeof(int));
  if (cmsghdr *header = CMSG_FIRSTHDR(&message.header); header != nullptr) {
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    for (uint32_t i = 0; i < count; i++) {
      const int descriptor = Argument<int>(descriptors.Get(i));
      std::memcpy(CMSG_DATA(header) + i * sizeof(int), &descriptor, sizeof descriptor);
    }
  }
  const ssize_t sent = Uninterrupted([&] { return platform::Send(fd, message.header); });
  if (sent < 0 && WouldBlock()) return std::nullopt;
  return static_cast<double>(Check(sent, "sendmsg"));
}

// receive(fd, buffer, offset, length) → null if nothing has arrived, else {bytes, descriptors};
// bytes is 0 at the end. More descriptors than kMaxDescriptors: closes all of them and throws.
std::optional<Napi::Value> Receive(Napi::Env env, int fd, Napi::Uint8Array buffer, size_t offset,
                                   size_t length) {
  if (length == 0 || offset > buffer.ByteLength() || length > buffer.ByteLength() - offset) {
    throw Napi::RangeError::New(env, "receive: the range is outside the buffer");
  }
  Message message(buffer.Data() + offset, length);
  const ssize_t received = Uninterrupted([&] { return platform::Receive(fd, &message.header); });
  if (received < 0 && WouldBlock()) return std::nullopt;
  Check(received, "recvmsg");
  std::vector<Descriptor> descriptors;
  platform::ForEachDescriptor(&message.header,
                              [&](int descriptor) { descriptors.emplace_back(descriptor); });
  if ((message.header.msg_flags & MSG_CTRUNC) != 0) {
    throw std::runtime_error("a message with more descriptors than " +
                             std::to_string(kMaxDescriptors) +
                             ", or than this process may still open (ulimit -n)");
  }
  Napi::Array list = Napi::Array::New(env, descriptors.size());
  for (uint32_t i = 0; i < descriptors.size(); i++) list.Set(i, descriptors[i].get());
  Napi::Object result = Napi::Object::New(env);
  result.Set("bytes", static_cast<double>(received));
  result.Set("descriptors", list);
  for (Descriptor &descriptor : descriptors) descriptor.Take();
  return result;
}

void CloseDescriptor(Napi::Env, int fd) {
  close(fd);
}

// The doorbells of virtqueues are eventfds where QEMU has them, elsewhere pipes (QEMU
// util/event_notifier-posix.c). Either is rung by writing eight bytes.

// ringDoorbell(fd). A full one has been rung already; one whose listener has closed needs no ring.
void RingDoorbell(Napi::Env, int fd) {
  const uint64_t one = 1;
  const ssize_t written = Uninterrupted([&] { return write(fd, &one, sizeof one); });
  if (written < 0 && !WouldBlock() && errno != EPIPE) ThrowErrno("ringing a doorbell");
}

// clearDoorbell(fd) → false if the other end is closed. Takes all rings so far; the next poll finds
// those that come meanwhile.
bool ClearDoorbell(Napi::Env, int fd) {
  // An eventfd gives its eight bytes once. A pipe is read until it is empty, but not for ever if
  // the other end keeps writing: this is twice what a pipe holds on Linux and Darwin.
  constexpr int kReads = 256;
  std::array<char, 512> rings{};
  for (int i = 0; i < kReads; i++) {
    const ssize_t count = Uninterrupted([&] { return read(fd, rings.data(), rings.size()); });
    if (count < 0 && !WouldBlock()) ThrowErrno("clearing a doorbell");
    if (count == 0) return false;
    if (count < static_cast<ssize_t>(rings.size())) break;
  }
  return true;
}

void SetNonBlocking(Napi::Env, int fd) {
  platform::Adopt(fd);
}

}  // namespace

void RegisterSockets(Napi::Object exports) {
  exports.Set("maxPathBytes", static_cast<double>(sizeof(sockaddr_un::sun_path) - 1));
  Export(exports, "listen", Listen);
  Export(exports, "connect", Connect);
  Export(exports, "accept", Accept);
  Export(exports, "adopt", Adopt);
  Export(exports, "peerUser", PeerUser);
  Export(exports, "peerProcess", PeerProcess);
  Export(exports, "listenVsock", ListenVsock);
  Export(exports, "peerCid", PeerCid);
  Export(exports, "listenTcp", ListenTcp);
  Export(exports, "peerAddress", PeerAddress);
  Export(exports, "socketPair", SocketPair);
  Export(exports, "send", Send);
  Export(exports, "receive", Receive);
  Export(exports, "closeDescriptor", CloseDescriptor);
  Export(exports, "ringDoorbell", RingDoorbell);
  Export(exports, "clearDoorbell", ClearDoorbell);
  Export(exports, "setNonBlocking", SetNonBlocking);
}

}  // namespace vsockenc
