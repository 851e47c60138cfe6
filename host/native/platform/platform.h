// What POSIX does not say and the systems that we run on do each in their own way. Exactly one
// implementation is compiled: linux.cc, or posix.cc for every other system (Darwin above all).
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

// Sockets and pipes. Every descriptor that comes from here is closed on exec and does not block,
// and writing to it when nobody reads is EPIPE, not SIGPIPE. (For a pipe that depends on the
// process: Node ignores SIGPIPE.)

// A stream socket of the family.
int OpenSocket(int family);
// Of the next connection that waits.
int Accept(int fd);
// The reading end, and the writing one.
int OpenPipe(std::array<int, 2> *ends);
// Makes a descriptor that comes from elsewhere like those from here.
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
  // False: the descriptor is of something else. The other fields mean nothing then.
  bool is_memory;
  // pread(2) and pwrite(2) work. They do not on POSIX shared memory of Darwin, which can only be
  // mapped.
  bool is_file;
  // Bytes.
  uint64_t size;
  // Of the offsets at which it can be mapped, in bytes: a page, or a huge page.
  uint64_t alignment;
  // Equal exactly for descriptors of one memory. Empty where the system does not tell them apart,
  // as Darwin does not with POSIX shared memory.
  std::string identity;
};
int StatusOf(int fd, MemoryStatus *status);

// Memory without a name, which nobody but our own user can open; `name` is for diagnostics. Its
// size is fixed where the system can do that.
int CreateMemory(const std::string &name, uint64_t size);
// The same memory, without the right to write where the system can take it away.
int ReopenReadOnly(int fd);

}  // namespace vsockenc::platform

#endif  // VSOCKENC_HOST_NATIVE_PLATFORM_PLATFORM_H_
