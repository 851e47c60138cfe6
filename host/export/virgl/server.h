/*
 * The export service inside QEMU: what clients ask, and what they are told (proto/PROTOCOL.md,
 * "Export protocol").
 *
 * Everything runs in QEMU's main loop, the thread that owns virglrenderer's GL contexts (loop.h).
 * There is no other thread.
 */
#ifndef VSOCKENC_VIRGL_SERVER_H
#define VSOCKENC_VIRGL_SERVER_H

/*
 * Begins to listen at `path`, and to keep the table of resources; once, later calls change nothing.
 * A failure is logged, and QEMU runs without the service.
 */
void virgl_server_start(const char *path);

/* The device is being reset, or virglrenderer closed: no resource remains. */
void virgl_server_reset(void);

#endif
