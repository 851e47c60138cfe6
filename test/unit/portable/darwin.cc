// Linux, answering as a Mac with Apple silicon does where that matters to us: pages of 16 KiB, and
// POSIX shared memory that has no inode, no type, and can be mapped but neither read nor written
// (xnu, bsd/kern/posix_shm.c: pshm_stat, pshm_mmap, pshmops). It proves which way the code takes
// there; it is no proof that a Mac agrees.
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace {

constexpr long kPage = 16384;
constexpr size_t kMaxName = 31;  // PSHMNAMLEN

bool IsSharedMemory(int fd) {
  char path[PATH_MAX] = {};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  return readlink(link.c_str(), path, sizeof path - 1) > 0 &&
         strncmp(path, "/dev/shm/", strlen("/dev/shm/")) == 0;
}

template <typename Result>
Result Fail(int reason, Result result) {
  errno = reason;
  return result;
}

}  // namespace

extern "C" {

int getpeereid(int fd, uid_t *user, gid_t *group) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return -1;
  *user = credentials.uid;
  *group = credentials.gid;
  return 0;
}

// SOL_LOCAL, LOCAL_PEERPID (xnu, bsd/kern/uipc_usrreq.c: uipc_ctloutput).
int darwin_getsockopt(int fd, int level, int name, void *value, socklen_t *size) {
  if (level != 0 || name != 2) return getsockopt(fd, level, name, value, size);
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return -1;
  memcpy(value, &credentials.pid, sizeof credentials.pid);
  *size = sizeof credentials.pid;
  return 0;
}

int darwin_fchmod(int fd, mode_t mode) {
  return IsSharedMemory(fd) ? Fail(EINVAL, -1) : fchmod(fd, mode);
}

int darwin_fstat(int fd, struct stat *status) {
  if (fstat(fd, status) != 0) return -1;
  if (!IsSharedMemory(fd)) return 0;
  struct stat mapped {};
  mapped.st_mode = status->st_mode & ALLPERMS;
  mapped.st_uid = status->st_uid;
  mapped.st_gid = status->st_gid;
  mapped.st_size = (status->st_size + kPage - 1) / kPage * kPage;
  *status = mapped;
  return 0;
}

void *darwin_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
  if (offset % kPage != 0) return Fail(EINVAL, MAP_FAILED);
  if (fd >= 0 && IsSharedMemory(fd)) {
    struct stat status {};
    if (darwin_fstat(fd, &status) != 0) return MAP_FAILED;
    const auto rounded = static_cast<off_t>((length + kPage - 1) / kPage * kPage);
    if ((flags & MAP_SHARED) == 0 || offset + rounded > status.st_size) {
      return Fail(EINVAL, MAP_FAILED);
    }
  }
  return mmap(address, length, protection, flags, fd, offset);
}

ssize_t darwin_pread(int fd, void *bytes, size_t length, off_t offset) {
  return IsSharedMemory(fd) ? Fail(ENXIO, -1) : pread(fd, bytes, length, offset);
}

ssize_t darwin_pwrite(int fd, const void *bytes, size_t length, off_t offset) {
  return IsSharedMemory(fd) ? Fail(ENXIO, -1) : pwrite(fd, bytes, length, offset);
}

int darwin_shm_open(const char *name, int flags, mode_t mode) {
  // O_CLOEXEC is refused from macOS 26.4 on.
  if ((flags & ~(O_RDWR | O_CREAT | O_EXCL | O_TRUNC)) != 0) return Fail(EINVAL, -1);
  if (strlen(name) > kMaxName) return Fail(ENAMETOOLONG, -1);
  return shm_open(name, flags, mode);
}

long darwin_sysconf(int name) {
  return name == _SC_PAGESIZE ? kPage : sysconf(name);
}
}
