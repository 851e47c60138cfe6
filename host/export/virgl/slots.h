/* Memory that pixels are copied into: mapped in QEMU, handed to one client read-only. */
#ifndef VSOCKENC_VIRGL_SLOTS_H
#define VSOCKENC_VIRGL_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "vsockenc-limits.h"

typedef enum {
  VIRGL_SLOT_FREE,
  VIRGL_SLOT_READING, /* from Read to ReadDone */
  VIRGL_SLOT_FULL,    /* from ReadDone to Free */
} VirglSlotState;

typedef struct {
  VirglSlotState state;
  /* A Free that came while the slot was being read; it takes effect at ReadDone. */
  bool freed;
  bool discarded;
  /* NULL: no memory yet. */
  void *data;
  uint64_t bytes;
  int descriptor; /* read-only */
} VirglSlot;

/* The slots of one client, by number. */
typedef struct {
  VirglSlot slot[VSOCKENC_MAX_SLOTS];
  uint64_t bytes; /* of all */
} VirglSlots;

/*
 * Makes a slot `bytes` large, with all its pages present, unless it is already. False:
 * MAX_SLOT_BYTES would be exceeded, or the system has no memory or descriptors.
 */
bool virgl_slots_size(VirglSlots *slots, uint32_t number, uint64_t bytes);

/* Ends the use of a slot. `discard`: gives its memory back. */
void virgl_slots_free(VirglSlots *slots, uint32_t number, bool discard);

#endif
