// Linux: memfds, file seals, vsock, and descriptors that are closed on exec from the start.
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <sys/stat.h>

#include "platform.h"

namespace vsockenc::platform {

int OpenSocket(int family) {
  return socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

int Accept(int fd) {
  return accept4(fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

int OpenPipe(std::array<int, 2> *ends) {
  return pipe2(ends->data(), O_CLOEXEC | O_NONBLOCK);
}

void Adopt(int fd) {
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

ssize_t Send(int fd, const msghdr &message) {
  return sendmsg(fd, &message, MSG_NOSIGNAL);
}

ssize_t Receive(int fd, msghdr *message) {
  return recvmsg(fd, message, MSG_CMSG_CLOEXEC);
}

int PeerUser(int fd, uid_t *user) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return -1;
  *user = credentials.uid;
  return 0;
}

int PeerProcess(int fd, pid_t *process) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return -1;
  *process = credentials.pid;
  return 0;
}

int BindVsock(uint32_t port) {
  Descriptor fd(OpenSocket(AF_VSOCK));
  sockaddr_vm address{};
  address.svm_family = AF_VSOCK;
  address.svm_cid = VMADDR_CID_ANY;
  address.svm_port = port;
  if (fd.get() < 0) return -1;
  const auto *generic = reinterpret_cast<const sockaddr *>(&address);
  return bind(fd.get(), generic, sizeof address) == 0 ? fd.Take() : -1;
}

int PeerCid(int fd, uint32_t *cid) {
  sockaddr_vm address{};
  socklen_t length = sizeof address;
  if (getpeername(fd, reinterpret_cast<sockaddr *>(&address), &length) != 0) return -1;
  *cid = address.svm_cid;
  return 0;
}

int StatusOf(int fd, MemoryStatus *status) {
  struct stat found {};
  if (fstat(fd, &found) != 0) return -1;
  // memfds and POSIX shared memory are files of a tmpfs. For huge pages the block size is the size
  // of the huge page.
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const auto block = static_cast<uint64_t>(found.st_blksize);
  const bool is_file = S_ISREG(found.st_mode);
  *status = {
      .is_memory = is_file,
      .is_file = is_file,
      .size = static_cast<uint64_t>(found.st_size),
      .alignment = block > page && (block & (block - 1)) == 0 ? block : page,
      .identity = std::to_string(found.st_dev) + ":" + std::to_string(found.st_ino),
  };
  return 0;
}

int CreateMemory(const std::string &name, uint64_t size) {
  Descriptor fd(memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  // By default every user who reaches a memfd through /proc can open it. The seals keep mapped
  // pages valid.
  const bool made = fd.get() >= 0 && fchmod(fd.get(), S_IRUSR | S_IWUSR) == 0 &&
                    ftruncate(fd.get(), static_cast<off_t>(size)) == 0 &&
                    fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0;
  return made ? fd.Take() : -1;
}

int ReopenReadOnly(int fd) {
  return open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDONLY | O_CLOEXEC);
}

}  // namespace vsockenc::platform
