#include "slots.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void discard(VirglSlots *slots, VirglSlot *slot) {
  if (slot->data == NULL) {
    return;
  }
  /* The pages go now: a client that keeps the descriptor would else keep memory of QEMU's. */
  madvise(slot->data, slot->bytes, MADV_REMOVE);
  munmap(slot->data, slot->bytes);
  close(slot->descriptor);
  slots->bytes -= slot->bytes;
  slot->data = NULL;
}

void virgl_slots_free(VirglSlots *slots, uint32_t number, bool with_memory) {
  VirglSlot *slot = &slots->slot[number];
  slot->state = VIRGL_SLOT_FREE;
  slot->freed = false;
  slot->discarded = false;
  if (with_memory) {
    discard(slots, slot);
  }
}

/* A read-only descriptor of a memory, which cannot be opened again for writing by another user. */
static int reopen_read_only(int memory) {
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", memory);
  return fchmod(memory, S_IRUSR | S_IWUSR) < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);
}

bool virgl_slots_size(VirglSlots *slots, uint32_t number, uint64_t bytes) {
  VirglSlot *slot = &slots->slot[number];
  if (slot->data != NULL && slot->bytes == bytes) {
    return true;
  }
  discard(slots, slot);
  if (bytes > VSOCKENC_MAX_SLOT_BYTES - slots->bytes) {
    return false;
  }
  int memory = memfd_create("vsockenc-slot", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (memory < 0) {
    return false;
  }
  /* With its pages made here, a full system is an error now and not SIGBUS later. */
  void *data = MAP_FAILED;
  int descriptor = -1;
  if (fallocate(memory, 0, 0, (off_t)bytes) == 0 &&
      fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) {
    descriptor = reopen_read_only(memory);
  }
  if (descriptor >= 0) {
    data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memory, 0);
  }
  close(memory);
  if (data == MAP_FAILED) {
    if (descriptor >= 0) {
      close(descriptor);
    }
    return false;
  }
  slot->data = data;
  slot->bytes = bytes;
  slot->descriptor = descriptor;
  slots->bytes += bytes;
  return true;
}
