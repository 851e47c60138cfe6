/* The export socket's file, and who may connect. */
#ifndef VSOCKENC_VIRGL_LISTENER_H
#define VSOCKENC_VIRGL_LISTENER_H

#include <stdbool.h>

/*
 * Begins to listen. False: the reason was logged.
 *
 * @param users numbers of the users that may connect, besides root and QEMU's own, separated by
 * commas; NULL: no others
 * @param on_connection takes the connected, non-blocking socket over
 */
bool virgl_listener_start(const char *path, const char *users, void (*on_connection)(int socket));

#endif
