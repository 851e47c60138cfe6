#include "loop.h"

#include <glib-unix.h>
#include <sys/epoll.h>
#include <unistd.h>

/* QEMU's sources have G_PRIORITY_DEFAULT, those of its displays at least GDK_PRIORITY_REDRAW. */
#define PRIORITY G_PRIORITY_DEFAULT_IDLE

static int ready_set = -1;

static gboolean on_ready(gint descriptor, GIOCondition condition, gpointer data) {
  (void)condition;
  (void)data;
  struct epoll_event event;
  if (epoll_wait(descriptor, &event, 1, 0) == 1) {
    VirglWatch *watch = event.data.ptr;
    watch->on_ready(watch);
  }
  return G_SOURCE_CONTINUE;
}

bool virgl_loop_start(void) {
  if (ready_set >= 0) {
    return true;
  }
  ready_set = epoll_create1(EPOLL_CLOEXEC);
  if (ready_set < 0) {
    return false;
  }
  g_unix_fd_add_full(PRIORITY, ready_set, G_IO_IN, on_ready, NULL, NULL);
  return true;
}

static bool control(int operation, int descriptor, uint32_t events, VirglWatch *watch) {
  struct epoll_event event = {.events = events, .data.ptr = watch};
  return epoll_ctl(ready_set, operation, descriptor, &event) == 0;
}

bool virgl_loop_add(int descriptor, uint32_t events, VirglWatch *watch) {
  return control(EPOLL_CTL_ADD, descriptor, events, watch);
}

void virgl_loop_change(int descriptor, uint32_t events, VirglWatch *watch) {
  control(EPOLL_CTL_MOD, descriptor, events, watch);
}

void virgl_loop_remove(int descriptor) {
  control(EPOLL_CTL_DEL, descriptor, 0, NULL);
}
