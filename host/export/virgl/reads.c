#include "reads.h"

#include <glib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "pixels.h"
#include "resources.h"

/* How often a fence is looked at: a quarter of the time that it has been waited for, within these.
 */
enum { MIN_INTERVAL_US = 100, MAX_INTERVAL_US = 1000 };

static void on_timer(VirglWatch *watch);

static VirglWatch watch = {on_timer};
static int timer = -1;
/* Whose first read is under way; NULL: none is. */
static VirglClient *reading;
/* The client whose turn was last. */
static unsigned last_turn;
static int64_t begun_us;

bool virgl_reads_start(void) {
  timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (timer >= 0 && virgl_loop_add(timer, EPOLLIN, &watch)) {
    return true;
  }
  if (timer >= 0) {
    close(timer);
  }
  return false;
}

/* @param us at least 1; 0: never */
static void set_timer(long us) {
  const struct itimerspec after = {.it_value.tv_nsec = us * 1000};
  timerfd_settime(timer, 0, &after, NULL);
}

static const VirglRefusal GONE = {vsockenc_ExportErrorCode_RESOURCE_UNKNOWN,
                                  "the guest has freed the resource"};

static VirglPendingRead *first_read(VirglClient *client) {
  return &client->reads[client->first_read];
}

static VirglPendingRead take_first(VirglClient *client) {
  const VirglPendingRead pending = *first_read(client);
  client->first_read = (client->first_read + 1) % VSOCKENC_MAX_SLOTS;
  client->read_count--;
  return pending;
}

/* The resource that a read is about; NULL if it has gone since. */
static VirglResource *resource_of(const vsockenc_Read *read) {
  VirglResource *resource = virgl_resources_find(read->resource);
  return resource != NULL && resource->generation == read->generation ? resource : NULL;
}

/* Begins the next client's first read if none is under way. */
static void begin_next(void) {
  if (reading != NULL) {
    return;
  }
  for (unsigned step = 1; reading == NULL && step <= VIRGL_MAX_CLIENTS; step++) {
    unsigned turn = (last_turn + step) % VIRGL_MAX_CLIENTS;
    if (virgl_clients[turn].read_count > 0 && !virgl_clients[turn].closing) {
      reading = &virgl_clients[turn];
      last_turn = turn;
    }
  }
  if (reading != NULL) {
    const VirglResource *resource = resource_of(&first_read(reading)->read);
    if (resource != NULL && resource->kind == VIRGL_KIND_TEXTURE) {
      virgl_fence_begin();
    }
    begun_us = g_get_monotonic_time();
    set_timer(1);
  }
}

/* Copies the pixels into the slot; the GPU has finished. False with `refusal` set: it has not. */
static bool copy(VirglClient *client, const vsockenc_Read *read, VirglRefusal *refusal) {
  VirglResource *resource = resource_of(read);
  vsockenc_Readable readable;
  if (resource == NULL) {
    *refusal = GONE;
    return false;
  }
  if (!virgl_pixels_describe(resource, &readable, refusal)) {
    return false;
  }
  VirglSlot *slot = &client->slots.slot[read->slot];
  bool is_known = slot->data != NULL && slot->bytes == readable.bytes;
  if (!virgl_slots_size(&client->slots, read->slot, readable.bytes)) {
    *refusal = (VirglRefusal){vsockenc_ExportErrorCode_TOO_MANY_SLOTS,
                              "its pictures need more memory than MAX_SLOT_BYTES, or than the "
                              "host has: use fewer or smaller streams"};
    return false;
  }
  if (!is_known) {
    virgl_client_send(client, VIRGL_MESSAGE(slot, {.slot = read->slot, .bytes = readable.bytes}),
                      slot->descriptor);
  }
  return virgl_pixels_copy(resource, &readable, slot->data, refusal);
}

static void answer(VirglClient *client, const vsockenc_Read *read, VirglRefusal refusal,
                   int64_t wait_us, int64_t copy_us) {
  vsockenc_ReadDone done = {.request = read->request,
                            .slot = read->slot,
                            .code = refusal.code,
                            .wait_us = (uint32_t)wait_us,
                            .copy_us = (uint32_t)copy_us};
  g_strlcpy(done.text, refusal.text, sizeof done.text);
  virgl_client_send(client, VIRGL_MESSAGE(read_done, done), -1);
}

/* Copies and answers the read that is under way. */
static void finish_read(void) {
  VirglClient *client = reading;
  const VirglPendingRead pending = take_first(client);
  reading = NULL;

  int64_t began_us = g_get_monotonic_time();
  VirglRefusal refusal = {vsockenc_ExportErrorCode_EXPORT_ERROR_UNSPECIFIED, ""};
  bool done = copy(client, &pending.read, &refusal);
  answer(client, &pending.read, refusal, began_us - pending.arrived_us,
         g_get_monotonic_time() - began_us);
  VirglSlot *slot = &client->slots.slot[pending.read.slot];
  if (!done || slot->freed) {
    virgl_slots_free(&client->slots, pending.read.slot, slot->discarded);
  } else {
    slot->state = VIRGL_SLOT_FULL;
  }
}

static void on_timer(VirglWatch *ready) {
  (void)ready;
  uint64_t expirations;
  if (read(timer, &expirations, sizeof expirations) < 0 || reading == NULL) {
    return; /* cancelled */
  }
  if (!virgl_fence_passed()) {
    int64_t interval = (g_get_monotonic_time() - begun_us) / 4;
    set_timer((long)CLAMP(interval, MIN_INTERVAL_US, MAX_INTERVAL_US));
    return;
  }
  finish_read();
  begin_next();
}

void virgl_reads_add(VirglClient *client, const vsockenc_Read *read) {
  if (read->slot >= VSOCKENC_MAX_SLOTS || client->slots.slot[read->slot].state != VIRGL_SLOT_FREE) {
    virgl_client_close(client, "it reads into a slot that does not exist or is not free");
    return;
  }
  if (resource_of(read) == NULL) {
    answer(client, read, GONE, 0, 0);
    return;
  }
  client->slots.slot[read->slot].state = VIRGL_SLOT_READING;
  unsigned end = (client->first_read + client->read_count) % VSOCKENC_MAX_SLOTS;
  client->reads[end] = (VirglPendingRead){*read, g_get_monotonic_time()};
  client->read_count++;
  begin_next();
}

/* Ends the read that is under way. */
static void abandon(void) {
  virgl_fence_cancel();
  set_timer(0);
  reading = NULL;
}

void virgl_reads_cancel(VirglClient *client) {
  client->read_count = 0;
  if (reading == client) {
    abandon();
    begin_next();
  }
}

void virgl_reads_reset(void) {
  static const VirglRefusal reset = {vsockenc_ExportErrorCode_DEVICE_NOT_READY,
                                     "the guest has reset its GPU"};
  if (reading != NULL) {
    abandon();
  }
  for (unsigned index = 0; index < VIRGL_MAX_CLIENTS; index++) {
    VirglClient *client = &virgl_clients[index];
    while (client->read_count > 0) {
      const VirglPendingRead pending = take_first(client);
      answer(client, &pending.read, reset, g_get_monotonic_time() - pending.arrived_us, 0);
      virgl_slots_free(&client->slots, pending.read.slot,
                       client->slots.slot[pending.read.slot].discarded);
    }
  }
}
