// What POSIX leaves open and the supported systems do in different ways. Exactly one implementation
// is compiled: linux.cc, or posix.cc for every other system (above all Darwin).
//
// Like system calls, functions that can fail return -1 and leave the reason in errno.
#ifndef VSOCKENC_HOST_NATIVE_PLATFORM_PLATFORM_H_
#define VSOCKENC_HOST_NATIVE_PLATFORM_PLATFORM_H_

#include <sys/socket.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <string>

namespace vsockenc::platform {

// Sockets and pipes. Every descriptor made here is closed on exec and non-blocking; writing to it
// when the reader has closed gives EPIPE, not SIGPIPE. (For a pipe that depends on the process:
// Node ignores SIGPIPE.)

// A stream socket of the family.
int OpenSocket(int family);
// A socket for the next waiting connection.
int Accept(int fd);
// The read end, then the write end.
int OpenPipe(std::array<int, 2> *ends);
// Gives a descriptor from elsewhere the same flags.
void Adopt(int fd);

ssize_t Send(int fd, const msghdr &message);
// Descriptors that come with the message are closed on exec.
ssize_t Receive(int fd, msghdr *message);

// User of the process at the other end of a UNIX socket.
int PeerUser(int fd, uid_t *user);

// A vsock socket bound to the port, for every guest and this machine; it does not listen yet.
// EAFNOSUPPORT where there is no vsock.
int BindVsock(uint32_t port);
// Context id of the machine at the other end of a vsock socket.
int PeerCid(int fd, uint32_t *cid);

// Shareable memory: memfds, POSIX shared memory, and files.

struct MemoryStatus {
  // False: the descriptor is of something else, and the other fields are meaningless.
  bool is_memory;
  // pread(2) and pwrite(2) work. They do not on POSIX shared memory of Darwin, which can only be
  // mapped.
  bool is_file;
  // Bytes.
  uint64_t size;
  // Of the offsets at which it can be mapped, in bytes: a page, or a huge page.
  uint64_t alignment;
  // Equal exactly for descriptors of one memory. Empty where the system cannot identify it (POSIX
  // shared memory of Darwin).
  std::string identity;
};
int StatusOf(int fd, MemoryStatus *status);

// Memory without a name, which other users cannot open; `name` is for diagnostics. Its size is
// fixed where the system supports that.
int CreateMemory(const std::string &name, uint64_t size);
// The same memory, read-only where the system supports that.
int ReopenReadOnly(int fd);

}  // namespace vsockenc::platform

#endif  // VSOCKENC_HOST_NATIVE_PLATFORM_PLATFORM_H_
