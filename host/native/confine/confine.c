/*
 * vsockenc-confine: runs a command that sees few files and no network (Landlock, Linux 5.13).
 *
 *   vsockenc-confine [--read PATH | --device PATH | --sockets FOLDER | --memory FOLDER |
 *     --write FILE]... -- COMMAND [ARGUMENT]...
 *
 * Landlock binds the thread that asks for it and what it starts, so a program with threads, as
 * Node is, cannot confine itself: this program does, and becomes the command. --read: files below
 * PATH may be read and executed; --device: PATH may be opened for reading and writing; --sockets:
 * sockets may be created in FOLDER, and files removed; --memory: files below FOLDER may be read;
 * --write: FILE may be overwritten. A PATH that cannot be opened is left out. Everything else is
 * refused by the kernel: other files, TCP (ABI 4), ioctls of other devices (ABI 5), abstract
 * sockets and signals to other processes (ABI 6).
 *
 * Exit status 126: the kernel has no Landlock, or refuses it. The caller then runs the command
 * without, and says so.
 */
#define _GNU_SOURCE /* O_PATH */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { STATUS_UNSUPPORTED = 126, STATUS_FAILED = 127 };

/* As of linux/landlock.h at ABI 6, which older systems' headers lack. */
enum { CREATE_VERSION = 1, RULE_PATH_BENEATH = 1 };
enum {
  FS_EXECUTE = 1 << 0,
  FS_WRITE_FILE = 1 << 1,
  FS_READ_FILE = 1 << 2,
  FS_READ_DIR = 1 << 3,
  FS_REMOVE_FILE = 1 << 5,
  FS_MAKE_SOCKET = 1 << 9,
  FS_TRUNCATE = 1 << 14,
  FS_IOCTL_DEV = 1 << 15,
};
enum { NET_BIND_TCP = 1 << 0, NET_CONNECT_TCP = 1 << 1 };
enum { SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0, SCOPE_SIGNAL = 1 << 1 };

typedef struct {
  uint64_t handled_access_fs;
  uint64_t handled_access_net;
  uint64_t scoped;
} Ruleset;

typedef struct {
  uint64_t allowed_access;
  int32_t parent_fd;
} __attribute__((packed)) PathBeneath;

static const struct {
  const char *name;
  uint64_t access;
} options[] = {
    {"--read", FS_EXECUTE | FS_READ_FILE | FS_READ_DIR},
    {"--device", FS_READ_FILE | FS_WRITE_FILE | FS_IOCTL_DEV},
    {"--sockets", FS_MAKE_SOCKET | FS_REMOVE_FILE},
    {"--memory", FS_READ_FILE},
    {"--write", FS_WRITE_FILE | FS_TRUNCATE},
};

/* What an option of the command line allows; 0 for none. */
static uint64_t access_of(const char *option) {
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    if (strcmp(options[i].name, option) == 0) {
      return options[i].access;
    }
  }
  return 0;
}

/* What ABI `version` can refuse. */
static Ruleset everything(long version) {
  int fs_rights = version >= 5 ? 16 : version >= 3 ? 15 : version >= 2 ? 14 : 13;
  return (Ruleset){
      .handled_access_fs = (UINT64_C(1) << fs_rights) - 1,
      .handled_access_net = version >= 4 ? NET_BIND_TCP | NET_CONNECT_TCP : 0,
      .scoped = version >= 6 ? SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL : 0,
  };
}

static size_t ruleset_size(long version) {
  return version >= 6   ? sizeof(Ruleset)
         : version >= 4 ? offsetof(Ruleset, scoped)
                        : offsetof(Ruleset, handled_access_net);
}

static int allow(int ruleset, const char *path, uint64_t access) {
  PathBeneath rule = {.allowed_access = access, .parent_fd = open(path, O_PATH | O_CLOEXEC)};
  if (rule.parent_fd < 0) {
    return 0;
  }
  long result = syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0);
  if (result != 0 && errno == EINVAL) {
    /* Rights that only folders have. */
    rule.allowed_access &= ~(uint64_t)FS_READ_DIR;
    result = syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0);
  }
  close(rule.parent_fd);
  return (int)result;
}

static int fail(const char *what, int status) {
  fprintf(stderr, "vsockenc-confine: %s: %s\n", what, strerror(errno));
  return status;
}

int main(int argc, char **argv) {
  long version = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);
  if (version < 1) {
    return fail("Landlock", STATUS_UNSUPPORTED);
  }
  Ruleset handled = everything(version);
  int ruleset = (int)syscall(SYS_landlock_create_ruleset, &handled, ruleset_size(version), 0);
  if (ruleset < 0) {
    return fail("Landlock", STATUS_UNSUPPORTED);
  }
  int at = 1;
  for (; at + 1 < argc && strcmp(argv[at], "--") != 0; at += 2) {
    uint64_t access = access_of(argv[at]);
    if (access == 0) {
      fprintf(stderr, "vsockenc-confine: invalid option %s\n", argv[at]);
      return STATUS_FAILED;
    }
    if (allow(ruleset, argv[at + 1], access & handled.handled_access_fs) != 0) {
      return fail(argv[at + 1], STATUS_FAILED);
    }
  }
  if (at + 1 >= argc) {
    fputs("vsockenc-confine: expected -- and a command\n", stderr);
    return STATUS_FAILED;
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) {
    return fail("Landlock", STATUS_UNSUPPORTED);
  }
  close(ruleset);
  execv(argv[at + 1], argv + at + 1);
  return fail(argv[at + 1], STATUS_FAILED);
}
