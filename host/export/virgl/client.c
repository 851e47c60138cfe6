#include "client.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pb_decode.h>
#include <pb_encode.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"

/* A client that leaves this much unread does not read: a few of the largest messages. */
#define MAX_QUEUED_BYTES (4 * (size_t)VSOCKENC_MAX_EXPORT_MESSAGE_BYTES)

struct VirglOutgoing {
  VirglOutgoing *next;
  size_t size;
  size_t sent;
  int descriptor; /* goes with the first byte; -1: none, or sent */
  uint8_t bytes[];
};

VirglClient virgl_clients[VIRGL_MAX_CLIENTS];

static const VirglClientEvents *client_events;

static void free_outgoing(VirglOutgoing *outgoing) {
  if (outgoing->descriptor >= 0) {
    close(outgoing->descriptor);
  }
  free(outgoing);
}

/* The connection has ended. */
static void finish(VirglClient *client) {
  client_events->on_closed(client);
  for (uint32_t slot = 0; slot < VSOCKENC_MAX_SLOTS; slot++) {
    virgl_slots_free(&client->slots, slot, true);
  }
  for (VirglOutgoing *outgoing = client->output, *next; outgoing != NULL; outgoing = next) {
    next = outgoing->next;
    free_outgoing(outgoing);
  }
  virgl_loop_remove(client->socket);
  close(client->socket);
  memset(client, 0, sizeof *client);
}

void virgl_client_close(VirglClient *client, const char *reason) {
  if (client->closing) {
    return;
  }
  client->closing = true;
  if (reason != NULL) {
    virgl_log("closed a connection: %s", reason);
  }
  shutdown(client->socket, SHUT_RDWR); /* epoll reports it now */
}

/* Sends the first of the queue. False: the socket takes no more, or is broken. */
static bool send_first(VirglClient *client) {
  VirglOutgoing *outgoing = client->output;
  struct iovec part = {outgoing->bytes + outgoing->sent, outgoing->size - outgoing->sent};
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  if (outgoing->descriptor >= 0) {
    memset(&control, 0, sizeof control);
    header.msg_control = control.bytes;
    header.msg_controllen = sizeof control.bytes;
    struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &outgoing->descriptor, sizeof(int));
  }
  ssize_t sent = sendmsg(client->socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0) {
    if (errno != EAGAIN && errno != EINTR) {
      virgl_client_close(client, NULL);
    }
    return false;
  }
  if (outgoing->descriptor >= 0) {
    close(outgoing->descriptor);
    outgoing->descriptor = -1;
  }
  outgoing->sent += (size_t)sent;
  if (outgoing->sent < outgoing->size) {
    return false;
  }
  client->queued_bytes -= sizeof *outgoing + outgoing->size;
  client->output = outgoing->next;
  if (client->output == NULL) {
    client->output_end = &client->output;
  }
  free_outgoing(outgoing);
  return true;
}

/* Sends what the socket takes. */
static void flush(VirglClient *client) {
  while (client->output != NULL && send_first(client)) {
  }
}

static void wait_for_client(VirglClient *client) {
  uint32_t writable = client->output == NULL ? 0 : EPOLLOUT;
  virgl_loop_change(client->socket, EPOLLIN | writable, &client->watch);
}

/* The message with its length, ready to be sent. NULL: it cannot be queued, and `reason` says why.
 */
static VirglOutgoing *serialize(const VirglClient *client, const vsockenc_ExportMessage *message,
                                int descriptor, const char **reason) {
  size_t size = 0;
  *reason = "a message to it is too long";
  if (!pb_get_encoded_size(&size, vsockenc_ExportMessage_fields, message) ||
      size > VSOCKENC_MAX_EXPORT_MESSAGE_BYTES) {
    return NULL;
  }
  *reason = "it does not read what is sent to it";
  if (client->queued_bytes + size > MAX_QUEUED_BYTES) {
    return NULL;
  }
  *reason = "QEMU has no memory or no descriptors left";
  VirglOutgoing *outgoing = malloc(sizeof *outgoing + VIRGL_LENGTH_BYTES + size);
  if (outgoing == NULL) {
    return NULL;
  }
  *outgoing = (VirglOutgoing){.size = VIRGL_LENGTH_BYTES + size, .descriptor = -1};
  uint32_t length = htole32((uint32_t)size);
  memcpy(outgoing->bytes, &length, VIRGL_LENGTH_BYTES);
  pb_ostream_t stream = pb_ostream_from_buffer(outgoing->bytes + VIRGL_LENGTH_BYTES, size);
  bool ready = pb_encode(&stream, vsockenc_ExportMessage_fields, message);
  if (ready && descriptor >= 0) {
    outgoing->descriptor = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    ready = outgoing->descriptor >= 0;
  }
  if (!ready) {
    free_outgoing(outgoing);
    return NULL;
  }
  return outgoing;
}

void virgl_client_send(VirglClient *client, const vsockenc_ExportMessage *message, int descriptor) {
  if (client->closing) {
    return;
  }
  const char *reason = NULL;
  VirglOutgoing *outgoing = serialize(client, message, descriptor, &reason);
  if (outgoing == NULL) {
    virgl_client_close(client, reason);
    return;
  }
  client->queued_bytes += sizeof *outgoing + outgoing->size;
  bool is_first = client->output == NULL;
  *client->output_end = outgoing;
  client->output_end = &outgoing->next;
  if (is_first) {
    flush(client);
    if (client->output != NULL) {
      wait_for_client(client);
    }
  }
}

/* Receives until the request has `wanted` bytes. False: it has fewer yet. */
static bool fill(VirglClient *client, size_t wanted) {
  if (client->filled < wanted) {
    uint8_t *end = client->input + client->filled;
    /* The kernel closes descriptors that are sent, as there is no room for them. */
    ssize_t got = recv(client->socket, end, wanted - client->filled, MSG_DONTWAIT);
    if (got > 0) {
      client->filled += (size_t)got;
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
      virgl_client_close(client, NULL);
    }
  }
  return client->filled >= wanted;
}

/* Receives and handles one request at most: what follows stays in the socket for another turn. */
static void receive(VirglClient *client) {
  if (!fill(client, VIRGL_LENGTH_BYTES)) {
    return;
  }
  uint32_t length = 0;
  memcpy(&length, client->input, VIRGL_LENGTH_BYTES);
  length = le32toh(length);
  if (length == 0 || length > VSOCKENC_MAX_EXPORT_REQUEST_BYTES) {
    virgl_client_close(client, "the length of a request is invalid; is it a relay?");
    return;
  }
  if (!fill(client, VIRGL_LENGTH_BYTES + length)) {
    return;
  }
  client->filled = 0;
  vsockenc_ExportMessage message = vsockenc_ExportMessage_init_zero;
  pb_istream_t stream = pb_istream_from_buffer(client->input + VIRGL_LENGTH_BYTES, length);
  if (pb_decode(&stream, vsockenc_ExportMessage_fields, &message)) {
    client_events->on_message(client, &message);
  } else {
    virgl_client_close(client, "a request is malformed; is it a relay?");
  }
}

static void on_ready(VirglWatch *watch) {
  VirglClient *client = (VirglClient *)watch;
  if (!client->closing && client->output != NULL) {
    flush(client);
    wait_for_client(client);
  }
  if (!client->closing) {
    receive(client);
  }
  if (client->closing) {
    finish(client);
  }
}

VirglClient *virgl_client_open(int socket, const VirglClientEvents *events) {
  for (unsigned index = 0; index < VIRGL_MAX_CLIENTS; index++) {
    VirglClient *client = &virgl_clients[index];
    if (!client->open && virgl_loop_add(socket, EPOLLIN, &client->watch)) {
      client_events = events;
      client->watch.on_ready = on_ready;
      client->open = true;
      client->socket = socket;
      client->output_end = &client->output;
      return client;
    }
  }
  close(socket);
  return NULL;
}

bool virgl_client_release(VirglClient *client, uint64_t generation) {
  for (unsigned index = 0; index < client->held_count; index++) {
    if (client->held[index] == generation) {
      client->held[index] = client->held[--client->held_count];
      return true;
    }
  }
  return false;
}

bool virgl_client_hold(VirglClient *client, uint64_t generation) {
  virgl_client_release(client, generation);
  if (client->held_count == VSOCKENC_MAX_ACQUIRED_RESOURCES) {
    return false;
  }
  client->held[client->held_count++] = generation;
  return true;
}
