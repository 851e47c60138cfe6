// What POSIX leaves open and the supported systems do in different ways. Exactly one implementation
// is compiled: linux.cc, or posix.cc for every other system (above all Darwin).
//
// Like system calls, functions that can fail return -1 and leave the reason in errno.
#pragma once

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

namespace vsockenc {

// Throws std::system_error of errno, "what: text of errno".
[[noreturn]] inline void ThrowErrno(const std::string &what) {
  throw std::system_error(errno, std::generic_category(), what);
}

// The result of a system call. Throws if it has failed.
template <typename Result>
Result Check(Result result, const char *what) {
  if (result < 0) ThrowErrno(what);
  return result;
}

// Owns one descriptor. Closing it keeps errno.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor &&other) noexcept : fd_(other.Take()) {}
  Descriptor &operator=(Descriptor &&other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    const int reason = errno;
    if (fd_ >= 0) close(fd_);
    errno = reason;
  }

  int get() const { return fd_; }
  int Take() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

namespace platform {

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

// Calls visit(fd) for each descriptor that has come with the message.
template <typename Visit>
void ForEachDescriptor(msghdr *message, Visit visit) {
  for (cmsghdr *header = CMSG_FIRSTHDR(message); header != nullptr;
       header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
      visit(fd);
    }
  }
}

// User of the process at the other end of a UNIX socket.
int PeerUser(int fd, uid_t *user);
// That process, or 0 if this one cannot see it. SO_PEERCRED: as it was when it called listen or
// connect.
int PeerProcess(int fd, pid_t *process);
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

}  // namespace platform

// Bytes of a shareable memory, mapped shared into this process. They may begin and end anywhere;
// the mapping covers whole pages.
class FileWindow {
 public:
  // `protection` is mmap's. The bytes must lie inside the memory; the descriptor may be closed
  // afterwards. Throws std::system_error.
  FileWindow(int fd, uint64_t offset, uint64_t length, int protection) {
    platform::MemoryStatus status;
    Check(platform::StatusOf(fd, &status), "fstat of a memory");
    const uint64_t mask = status.alignment - 1;
    const uint64_t lead = offset & mask;
    length_ = static_cast<size_t>((lead + length + mask) & ~mask);
    base_ = mmap(nullptr, length_, protection, MAP_SHARED, fd, static_cast<off_t>(offset - lead));
    if (base_ == MAP_FAILED) ThrowErrno("mmap of a memory");
    data_ = static_cast<uint8_t *>(base_) + lead;
  }
  FileWindow(FileWindow &&other) noexcept
      : base_(std::exchange(other.base_, nullptr)), length_(other.length_), data_(other.data_) {}
  FileWindow &operator=(FileWindow &&) = delete;
  ~FileWindow() {
    if (base_ != nullptr) munmap(base_, length_);
  }

  // Of the first byte.
  uint8_t *data() const { return data_; }

 private:
  void *base_;
  size_t length_;
  uint8_t *data_;
};

}  // namespace vsockenc
