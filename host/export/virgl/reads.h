/*
 * Reads of all clients: one is under way in the whole of QEMU, and clients take turns.
 *
 * Theory of operation: the GPU works behind the commands that QEMU has handed to it. A copy that
 * began at once would block QEMU until all of them are done, which can be seconds. So a fence is
 * put behind them and looked at by a timer; the copy of what the GPU has finished takes about a
 * millisecond at 1080p. The timer runs only while a read waits, and a copy has a turn of the main
 * loop of its own.
 */
#ifndef VSOCKENC_VIRGL_READS_H
#define VSOCKENC_VIRGL_READS_H

#include "client.h"

/* False: the system has no descriptors or memory. */
bool virgl_reads_start(void);

/* Accepts a Read, or closes a client whose slot is not free. */
void virgl_reads_add(VirglClient *client, const vsockenc_Read *read);

/* Drops the reads of a client without an answer. */
void virgl_reads_cancel(VirglClient *client);

/* Refuses all reads: no resource from before exists. */
void virgl_reads_reset(void);

#endif
