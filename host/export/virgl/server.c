#include "server.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "display.h"
#include "extents.h"
#include "guest-memory.h"
#include "listener.h"
#include "log.h"
#include "pixels.h"
#include "reads.h"
#include "resources.h"

static bool started;

static void refuse(VirglClient *client, const vsockenc_Acquire *acquire, VirglRefusal refusal) {
  vsockenc_Refused refused = {
      .request = acquire->request, .resource = acquire->resource, .code = refusal.code};
  g_strlcpy(refused.text, refusal.text, sizeof refused.text);
  virgl_client_send(client, VIRGL_MESSAGE(refused, refused), -1);
}

/* Sends the memories of extents that the client does not have yet. */
static void send_memories(VirglClient *client, const VirglExtents *extents) {
  G_STATIC_ASSERT(VSOCKENC_MAX_MEMORIES <= 64); /* bits of memories_sent */
  for (unsigned index = 0; index < extents->count; index++) {
    uint32_t memory = extents->first[index].memory;
    uint64_t bit = UINT64_C(1) << (memory - 1);
    if ((client->memories_sent & bit) == 0) {
      client->memories_sent |= bit;
      uint64_t size = 0;
      int descriptor = virgl_guest_memory_descriptor(memory, &size);
      virgl_client_send(client, VIRGL_MESSAGE(memory, {memory, size}), descriptor);
    }
  }
}

/* Whether the pixels are to be had by Read, not in the guest's pages. */
static bool is_read(const VirglResource *resource, vsockenc_Content content) {
  if (resource->kind == VIRGL_KIND_BLOB && !resource->host_memory) {
    return false; /* it has no other copy than its pages */
  }
  return content == vsockenc_Content_RENDERED ||
         (content != vsockenc_Content_PAGES && !resource->made_2d);
}

static void on_acquire(VirglClient *client, const vsockenc_Acquire *acquire) {
  const VirglResource *resource = virgl_resources_find(acquire->resource);
  if (resource == NULL) {
    refuse(client, acquire,
           (VirglRefusal){vsockenc_ExportErrorCode_RESOURCE_UNKNOWN,
                          "the guest has no such resource on this GPU"});
    return;
  }
  vsockenc_Acquired acquired = {
      .request = acquire->request,
      .resource = acquire->resource,
      .generation = resource->generation,
      .width = resource->width,
      .height = resource->height,
      .format = resource->format,
  };
  VirglRefusal refusal;
  VirglExtents extents = {0};
  acquired.has_readable = is_read(resource, acquire->content);
  acquired.known = !acquired.has_readable && acquire->known == resource->generation;
  bool found =
      acquired.known ||
      (acquired.has_readable ? virgl_pixels_describe(resource, &acquired.readable, &refusal)
                             : virgl_extents_find(resource, acquire->bytes, &extents, &refusal));
  if (!found) {
    refuse(client, acquire, refusal);
    return;
  }
  if (!virgl_client_hold(client, resource->generation)) {
    refuse(client, acquire,
           (VirglRefusal){vsockenc_ExportErrorCode_TOO_MANY_ACQUIRED,
                          "more than MAX_ACQUIRED_RESOURCES are acquired: release some"});
    return;
  }
  send_memories(client, &extents);
  acquired.extents = virgl_extents_field(&extents);
  virgl_client_send(client, VIRGL_MESSAGE(acquired, acquired), -1);
}

static void on_free(VirglClient *client, const vsockenc_Free *message) {
  if (message->slot >= VSOCKENC_MAX_SLOTS) {
    virgl_client_close(client, "it frees a slot that does not exist");
    return;
  }
  VirglSlot *slot = &client->slots.slot[message->slot];
  if (slot->state == VIRGL_SLOT_READING) {
    slot->freed = true;
    slot->discarded = slot->discarded || message->discard;
  } else {
    virgl_slots_free(&client->slots, message->slot, message->discard);
  }
}

static void on_hello(VirglClient *client, const vsockenc_ExportHello *hello) {
  if (hello->version != VSOCKENC_EXPORT_VERSION) {
    virgl_log(
        "a relay speaks version %u of the export protocol, this exporter version %u: install "
        "the same release of vsockenc for both",
        (unsigned)hello->version, VSOCKENC_EXPORT_VERSION);
    virgl_client_close(client, NULL);
  } else if (client->greeted) {
    virgl_client_close(client, "it says Hello twice");
  }
  client->greeted = true;
}

static void on_message(VirglClient *client, const vsockenc_ExportMessage *message) {
  if (!client->greeted && message->which_message != vsockenc_ExportMessage_hello_tag) {
    virgl_client_close(
        client,
        "its first message is not Hello: a relay of an older release, which is to be "
        "updated, or no relay");
    return;
  }
  switch (message->which_message) {
    case 0: /* of a later minor version */
      break;
    case vsockenc_ExportMessage_hello_tag:
      on_hello(client, &message->message.hello);
      break;
    case vsockenc_ExportMessage_acquire_tag:
      on_acquire(client, &message->message.acquire);
      break;
    case vsockenc_ExportMessage_release_tag:
      virgl_client_release(client, message->message.release.generation);
      break;
    case vsockenc_ExportMessage_read_tag:
      virgl_reads_add(client, &message->message.read);
      break;
    case vsockenc_ExportMessage_free_tag:
      on_free(client, &message->message.free);
      break;
    default:
      virgl_client_close(client, "it sends a message that only an exporter sends");
  }
}

/* Makes room for the next connection: programs that connect and say nothing keep no relay out. */
static void close_silent_client(void) {
  for (unsigned index = 0; index < VIRGL_MAX_CLIENTS; index++) {
    VirglClient *client = &virgl_clients[index];
    if (client->open && !client->greeted) {
      virgl_client_close(client, "it has not said Hello, and its place is needed");
      return;
    }
  }
}

static void on_connection(int socket) {
  static const VirglClientEvents events = {on_message, virgl_reads_cancel};
  VirglClient *client = virgl_client_open(socket, &events);
  if (client == NULL) {
    virgl_log("rejected a connection: %d are open already, or QEMU has no memory left",
              VIRGL_MAX_CLIENTS);
    close_silent_client();
    return;
  }
  virgl_client_send(client,
                    VIRGL_MESSAGE(hello, {.version = VSOCKENC_EXPORT_VERSION,
                                          .software = "vsockenc virgl " PACKAGE_VERSION}),
                    -1);
}

/*
 * QEMU waits for no client: the pages are the guest's again at once. They stay readable, so a relay
 * that still reads sees other pixels.
 */
static void on_resource_ended(uint32_t id, uint64_t generation) {
  for (unsigned index = 0; index < VIRGL_MAX_CLIENTS; index++) {
    VirglClient *client = &virgl_clients[index];
    if (virgl_client_release(client, generation)) {
      virgl_client_send(client, VIRGL_MESSAGE(revoke, {id, generation}), -1);
    }
  }
}

void virgl_server_reset(void) {
  if (!started) {
    return;
  }
  virgl_resources_clear();
  virgl_reads_reset();
  for (unsigned index = 0; index < VIRGL_MAX_CLIENTS; index++) {
    VirglClient *client = &virgl_clients[index];
    client->held_count = 0;
    if (client->greeted) {
      virgl_client_send(client, VIRGL_MESSAGE(reset, {0}), -1);
    }
  }
}

void virgl_server_start(const char *path) {
  static bool has_loop;
  if (started) {
    return;
  }
  has_loop = has_loop || (virgl_loop_start() && virgl_reads_start());
  if (!has_loop) {
    virgl_log("cannot serve VSOCKENC_EXPORT: QEMU has no descriptors left");
  } else if (virgl_listener_start(path, getenv("VSOCKENC_EXPORT_USERS"), on_connection)) {
    virgl_resources_start(on_resource_ended);
    virgl_display_check();
    started = true;
  }
}
