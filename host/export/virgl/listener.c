#include "listener.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "loop.h"

enum { MAX_USERS = 16, BACKLOG = 4 };

static void on_ready(VirglWatch *watch);

static VirglWatch watch = {on_ready};
static int listener = -1;
static uid_t allowed[MAX_USERS];
static unsigned allowed_count;
static void (*connected)(int socket);

static bool parse_users(const char *users) {
  allowed_count = 0;
  while (users != NULL && *users != '\0') {
    char *end;
    errno = 0;
    unsigned long user = strtoul(users, &end, 10);
    if (*users < '0' || *users > '9' || errno != 0 || user >= (uid_t)-1 ||
        (*end != ',' && *end != '\0') || allowed_count == MAX_USERS) {
      return false;
    }
    allowed[allowed_count++] = (uid_t)user;
    users = *end == ',' ? end + 1 : end;
  }
  return true;
}

static bool is_allowed(int socket) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) {
    return false;
  }
  bool found = peer.uid == 0 || peer.uid == geteuid();
  for (unsigned index = 0; !found && index < allowed_count; index++) {
    found = allowed[index] == peer.uid;
  }
  return found;
}

static void on_ready(VirglWatch *ready) {
  (void)ready;
  int socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (socket < 0) {
    return;
  }
  if (!is_allowed(socket)) {
    virgl_log("rejected a user without access; VSOCKENC_EXPORT_USERS lists those that have it");
    close(socket);
    return;
  }
  connected(socket);
}

/* Removes the file of a process that has ended. False: one still listens there. */
static bool clear_path(const struct sockaddr_un *address) {
  struct stat status;
  if (lstat(address->sun_path, &status) < 0 || !S_ISSOCK(status.st_mode)) {
    return true; /* another kind of file makes bind() fail */
  }
  int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  bool used = probe < 0 || connect(probe, (const struct sockaddr *)address, sizeof *address) == 0 ||
              errno == EAGAIN;
  if (probe >= 0) {
    close(probe);
  }
  if (used) {
    errno = EADDRINUSE;
    return false;
  }
  unlink(address->sun_path);
  return true;
}

static bool listen_at(const char *path, mode_t mode) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return false;
  }
  strcpy(address.sun_path, path);
  if (!clear_path(&address)) {
    return false;
  }
  listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  /* bind() gives the file the socket's mode, so it is never open to others. */
  if (listener >= 0 && fchmod(listener, S_IRUSR | S_IWUSR) == 0 &&
      bind(listener, (const struct sockaddr *)&address, sizeof address) == 0 &&
      chmod(path, mode) == 0 && listen(listener, BACKLOG) == 0 &&
      virgl_loop_add(listener, EPOLLIN, &watch)) {
    return true;
  }
  int error = errno;
  if (listener >= 0) {
    close(listener);
  }
  errno = error;
  return false;
}

bool virgl_listener_start(const char *path, const char *users, void (*on_connection)(int socket)) {
  connected = on_connection;
  if (!parse_users(users)) {
    virgl_log(
        "invalid VSOCKENC_EXPORT_USERS=%s: expected at most %d numbers of users, like 64055,1000",
        users, MAX_USERS);
    return false;
  }
  /* Each peer is checked; there is no mode for one more user. */
  if (!listen_at(path, allowed_count == 0 ? 0600 : 0666)) {
    virgl_log("cannot listen at VSOCKENC_EXPORT=%s: %s", path, strerror(errno));
    return false;
  }
  return true;
}
