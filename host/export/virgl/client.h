/*
 * The clients of the export socket: framing, a bounded output queue, descriptors, and what a client
 * holds.
 *
 * No client is waited for: sockets do not block, and one that does not read what is sent to it is
 * disconnected. A connection that is to end is shut down; its turn in the main loop then frees it,
 * so it may be closed from anywhere.
 */
#ifndef VSOCKENC_VIRGL_CLIENT_H
#define VSOCKENC_VIRGL_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "export.pb.h"
#include "loop.h"
#include "slots.h"
#include "vsockenc-limits.h"

enum { VIRGL_MAX_CLIENTS = 4, VIRGL_LENGTH_BYTES = 4 };

typedef struct {
  vsockenc_Read read;
  int64_t arrived_us;
} VirglPendingRead;

typedef struct VirglOutgoing VirglOutgoing;

typedef struct {
  VirglWatch watch;
  bool open;
  bool closing;
  bool greeted; /* its Hello has come */
  int socket;
  uint8_t input[VIRGL_LENGTH_BYTES + VSOCKENC_MAX_EXPORT_REQUEST_BYTES];
  size_t filled;
  VirglOutgoing *output;
  VirglOutgoing **output_end;
  size_t queued_bytes;
  /* Generations that the client may be reading. */
  uint64_t held[VSOCKENC_MAX_ACQUIRED_RESOURCES];
  unsigned held_count;
  uint64_t memories_sent; /* bit N−1: memory N */
  VirglSlots slots;
  /* Reads that wait, a ring: each has a slot of its own. */
  VirglPendingRead reads[VSOCKENC_MAX_SLOTS];
  unsigned first_read;
  unsigned read_count;
} VirglClient;

typedef struct {
  void (*on_message)(VirglClient *client, const vsockenc_ExportMessage *message);
  /* The connection is over; the client is cleared when this returns. */
  void (*on_closed)(VirglClient *client);
} VirglClientEvents;

/* All clients, open or not. */
extern VirglClient virgl_clients[VIRGL_MAX_CLIENTS];

/*
 * Takes over a connected, non-blocking socket. NULL: as many clients are open as there may be, or
 * the system has no memory; the socket is closed then.
 */
VirglClient *virgl_client_open(int socket, const VirglClientEvents *events);

/* A message for virgl_client_send(), e.g. VIRGL_MESSAGE(revoke, {.resource = 1}). */
#define VIRGL_MESSAGE(member, ...)                                                   \
  (&(vsockenc_ExportMessage){.which_message = vsockenc_ExportMessage_##member##_tag, \
                             .message.member = __VA_ARGS__})

/* Queues a message; `descriptor` (-1: none) is duplicated. Closes a client whose queue is full. */
void virgl_client_send(VirglClient *client, const vsockenc_ExportMessage *message, int descriptor);

/* @param reason for the log; NULL: the peer closed it */
void virgl_client_close(VirglClient *client, const char *reason);

/* Adds to what the client holds. False: MAX_ACQUIRED_RESOURCES are held. */
bool virgl_client_hold(VirglClient *client, uint64_t generation);

/* Whether the client held it. */
bool virgl_client_release(VirglClient *client, uint64_t generation);

#endif
