// Every system but Linux: POSIX, and getpeereid(3), which Darwin and the BSDs have.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <atomic>
#include <sstream>

#include "platform.h"

namespace vsockenc::platform {

namespace {

#ifdef MSG_NOSIGNAL
constexpr int kSendFlags = MSG_NOSIGNAL;
#else
constexpr int kSendFlags = 0;
#endif

int Adopted(int fd) {
  if (fd >= 0) Adopt(fd);
  return fd;
}

// Length of a name that every system accepts (Darwin: PSHMNAMLEN, 31), less the numbers of process
// and memory.
constexpr size_t kNameLength = 12;

}  // namespace

void Adopt(int fd) {
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
#ifdef SO_NOSIGPIPE
  // Fails where the descriptor is not a socket; that is fine.
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
}

int OpenSocket(int family) {
  return Adopted(socket(family, SOCK_STREAM, 0));
}

int Accept(int fd) {
  return Adopted(accept(fd, nullptr, nullptr));
}

int OpenPipe(std::array<int, 2> *ends) {
  if (pipe(ends->data()) != 0) return -1;
  for (const int fd : *ends) Adopt(fd);
  return 0;
}

ssize_t Send(int fd, const msghdr &message) {
  return sendmsg(fd, &message, kSendFlags);
}

ssize_t Receive(int fd, msghdr *message) {
  const ssize_t received = recvmsg(fd, message, 0);
  if (received >= 0) {
    ForEachDescriptor(message, [](int descriptor) { fcntl(descriptor, F_SETFD, FD_CLOEXEC); });
  }
  return received;
}

int PeerUser(int fd, uid_t *user) {
  gid_t group = 0;
  return getpeereid(fd, user, &group);
}

int PeerProcess(int fd, pid_t *process) {
  socklen_t length = sizeof *process;
  return getsockopt(fd, SOL_LOCAL, LOCAL_PEERPID, process, &length);
}

int BindVsock(uint32_t) {
  errno = EAFNOSUPPORT;
  return -1;
}

int PeerCid(int, uint32_t *) {
  errno = EAFNOSUPPORT;
  return -1;
}

int StatusOf(int fd, MemoryStatus *status) {
  struct stat found {};
  if (fstat(fd, &found) != 0) return -1;
  // On Darwin, POSIX shared memory has neither a type nor an inode (xnu, bsd/kern/posix_shm.c,
  // pshm_stat), and supports neither read nor write (pshmops).
  const bool is_file = S_ISREG(found.st_mode);
  *status = {
      .is_memory = is_file || (found.st_mode & S_IFMT) == 0,
      .is_file = is_file,
      .size = static_cast<uint64_t>(found.st_size),
      .alignment = static_cast<uint64_t>(sysconf(_SC_PAGESIZE)),
      .identity = {},
  };
  if (found.st_ino != 0) {
    status->identity = std::to_string(found.st_dev) + ":" + std::to_string(found.st_ino);
  }
  return 0;
}

int CreateMemory(const std::string &name, uint64_t size) {
  static std::atomic<unsigned> count{0};
  // O_EXCL: an existing name is never reused. It is removed at once.
  std::ostringstream path;
  path << '/' << name.substr(0, kNameLength) << '.' << getpid() << '.' << count++ % 1000;
  Descriptor fd(shm_open(path.str().c_str(), O_RDWR | O_CREAT | O_EXCL, S_IRUSR | S_IWUSR));
  if (fd.get() < 0) return -1;
  shm_unlink(path.str().c_str());
  fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
  return ftruncate(fd.get(), static_cast<off_t>(size)) == 0 ? fd.Take() : -1;
}

int ReopenReadOnly(int fd) {
  // Memory without a name cannot be re-opened; a duplicate stays writable.
  return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

}  // namespace vsockenc::platform
