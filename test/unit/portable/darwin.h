// Included ahead of every source of the portable build: takes away what only Linux has, and puts
// darwin.cc's answers in place of the system calls that Darwin carries out in another way.
//
// What POSIX headers declare besides POSIX stays out of reach: functions are poisoned, which makes
// their use an error, and macros are undefined. Headers that are Linux's alone are shadowed by
// hidden/.
#ifndef VSOCKENC_TEST_UNIT_PORTABLE_DARWIN_H_
#define VSOCKENC_TEST_UNIT_PORTABLE_DARWIN_H_

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#ifdef __cplusplus
// They use some of these names themselves.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#endif

#undef __linux__
#undef __linux
#undef linux
#undef AF_VSOCK
#undef F_ADD_SEALS
#undef F_GET_SEALS
#undef F_SEAL_GROW
#undef F_SEAL_SEAL
#undef F_SEAL_SHRINK
#undef F_SEAL_WRITE
#undef MAP_FIXED_NOREPLACE
#undef MAP_HUGETLB
#undef MAP_LOCKED
#undef MAP_POPULATE
#undef MFD_ALLOW_SEALING
#undef MFD_CLOEXEC
#undef MSG_CMSG_CLOEXEC
#undef MSG_NOSIGNAL
#undef O_PATH
#undef O_TMPFILE
#undef SOCK_CLOEXEC
#undef SOCK_NONBLOCK
#undef SO_DOMAIN
#undef SO_PEERCRED
#undef SO_PEERPIDFD

#pragma GCC poison accept4 close_range copy_file_range dup3 epoll_create1 eventfd execveat
#pragma GCC poison fallocate gettid getrandom memfd_create mremap name_to_handle_at pidfd_open
#pragma GCC poison pipe2 ppoll prctl process_vm_readv recvmmsg sched_setaffinity sendfile sendmmsg
#pragma GCC poison signalfd statx syncfs timerfd_create ucred unshare vmsplice

#ifdef __cplusplus
extern "C" {
#endif
int getpeereid(int fd, uid_t *user, gid_t *group);
int darwin_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int darwin_fchmod(int fd, mode_t mode);
int darwin_fstat(int fd, struct stat *status);
void *darwin_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset);
ssize_t darwin_pread(int fd, void *bytes, size_t length, off_t offset);
ssize_t darwin_pwrite(int fd, const void *bytes, size_t length, off_t offset);
int darwin_shm_open(const char *name, int flags, mode_t mode);
long darwin_sysconf(int name);
#ifdef __cplusplus
}
#endif

// <sys/un.h> of Darwin
#define SOL_LOCAL 0
#define LOCAL_PEERPID 2

#define getsockopt(fd, level, name, value, size) darwin_getsockopt(fd, level, name, value, size)
#define fchmod(fd, mode) darwin_fchmod(fd, mode)
#define fstat(fd, status) darwin_fstat(fd, status)
#define mmap(address, length, protection, flags, fd, offset) \
  darwin_mmap(address, length, protection, flags, fd, offset)
#define pread(fd, bytes, length, offset) darwin_pread(fd, bytes, length, offset)
#define pwrite(fd, bytes, length, offset) darwin_pwrite(fd, bytes, length, offset)
#define shm_open(name, flags, mode) darwin_shm_open(name, flags, mode)
#define sysconf(name) darwin_sysconf(name)

#endif  // VSOCKENC_TEST_UNIT_PORTABLE_DARWIN_H_
