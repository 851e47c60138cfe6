/* The linker (--wrap, CMakeLists.txt) has the exporter call these; libraries are not affected. */
#include "faults.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>

static long failing;
static long count;

void faults_arm(long number) {
  failing = number;
  count = 0;
}

long faults_count(void) {
  return count;
}

static bool fails(void) {
  errno = ENOMEM;
  return ++count == failing;
}

#define WRAP(type, name, failure, parameters, arguments) \
  type __real_##name parameters;                         \
  type __wrap_##name parameters;                         \
  type __wrap_##name parameters {                        \
    return fails() ? failure : __real_##name arguments;  \
  }

WRAP(void *, malloc, NULL, (size_t size), (size))
WRAP(void *, realloc, NULL, (void *old, size_t size), (old, size))
WRAP(void *, tsearch, NULL, (const void *key, void **root, __compar_fn_t compare),
     (key, root, compare))
WRAP(int, memfd_create, -1, (const char *name, unsigned flags), (name, flags))
WRAP(int, fallocate, -1, (int fd, int mode, off_t offset, off_t size), (fd, mode, offset, size))
WRAP(int, fchmod, -1, (int fd, mode_t mode), (fd, mode))
WRAP(int, fcntl, -1, (int fd, int command, long argument), (fd, command, argument))
WRAP(int, open, -1, (const char *path, int flags), (path, flags))
WRAP(int, openat, -1, (int folder, const char *path, int flags), (folder, path, flags))
WRAP(DIR *, opendir, NULL, (const char *path), (path))
WRAP(FILE *, fopen, NULL, (const char *path, const char *mode), (path, mode))
WRAP(void *, mmap, MAP_FAILED,
     (void *address, size_t size, int protection, int flags, int fd, off_t offset),
     (address, size, protection, flags, fd, offset))
WRAP(int, accept4, -1, (int socket, struct sockaddr *address, socklen_t *size, int flags),
     (socket, address, size, flags))

/* Changes need no memory. */
int __real_epoll_ctl(int set, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int set, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int set, int operation, int fd, struct epoll_event *event) {
  return operation == EPOLL_CTL_ADD && fails() ? -1 : __real_epoll_ctl(set, operation, fd, event);
}
