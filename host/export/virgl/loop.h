/*
 * Waiting for descriptors in QEMU's main loop.
 *
 * Theory of operation: GLib sees one source, an epoll descriptor. Its priority is below those of
 * QEMU's own sources, and GLib dispatches only the ready sources of the highest priority. So every
 * command that the guest had queued when a request arrived is handled before the request.
 *
 * Each turn of the main loop handles one ready descriptor; epoll reports them in rotation. So QEMU
 * waits for one small piece of work at most, and no client keeps another from its turn.
 *
 * GLib aborts the process when it finds no memory. Hence nothing here, nor in its callers, has GLib
 * allocate after virgl_loop_start().
 */
#ifndef VSOCKENC_VIRGL_LOOP_H
#define VSOCKENC_VIRGL_LOOP_H

#include <stdbool.h>
#include <stdint.h>

/* The first member of whatever is waited for. */
typedef struct VirglWatch {
  void (*on_ready)(struct VirglWatch *watch);
} VirglWatch;

/* False: the system has no descriptors or memory. */
bool virgl_loop_start(void);

/*
 * Waits for `events` (EPOLLIN, …) of a descriptor, or for others than before. False: the system has
 * no memory. `watch` has to stay until virgl_loop_remove().
 */
bool virgl_loop_add(int descriptor, uint32_t events, VirglWatch *watch);
void virgl_loop_change(int descriptor, uint32_t events, VirglWatch *watch);
void virgl_loop_remove(int descriptor);

#endif
