#include "guest-memory.h"

#include <dirent.h>
#include <fcntl.h>
#include <glib.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "vsockenc-limits.h"

/* How long a reading of the mappings is used, in microseconds: it takes up to a few milliseconds.
 */
enum { VALID_US = 250000, LINE_BYTES = PATH_MAX + 128 };

/* A shared mapping of a file. */
typedef struct {
  uintptr_t start;
  uintptr_t end;
  uint64_t offset;
  dev_t device;
  ino_t inode;
} Mapping;

typedef struct {
  dev_t device;
  ino_t inode;
  int descriptor; /* -1: the memory has gone */
  uint64_t size;
  bool mapped;
} Memory;

static Mapping *mappings; /* by address */
static size_t mapping_count;
static size_t mapping_capacity;
static Memory memories[VSOCKENC_MAX_MEMORIES];
static unsigned memory_count;

/* Opens a mapped file again, read-only, through a descriptor that QEMU holds. -1: QEMU has closed
 * it. */
static int reopen(dev_t device, ino_t inode) {
  DIR *folder = opendir("/proc/self/fd");
  if (folder == NULL) {
    return -1;
  }
  int found = -1;
  for (const struct dirent *entry = readdir(folder); entry != NULL && found < 0;
       entry = readdir(folder)) {
    struct stat status;
    if (fstatat(dirfd(folder), entry->d_name, &status, 0) == 0 && status.st_ino == inode &&
        status.st_dev == device && S_ISREG(status.st_mode)) {
      found = openat(dirfd(folder), entry->d_name, O_RDONLY | O_CLOEXEC);
      if (found >= 0 && status.st_nlink == 0) {
        /* A memfd is open to all; now no other user can open the descriptor again for writing. */
        fchmod(found, S_IRUSR | S_IWUSR);
      }
    }
  }
  closedir(folder);
  return found;
}

static Memory *known_memory(const Mapping *mapping) {
  for (unsigned index = 0; index < memory_count; index++) {
    Memory *memory = &memories[index];
    if (memory->descriptor >= 0 && memory->inode == mapping->inode &&
        memory->device == mapping->device) {
      return memory;
    }
  }
  return NULL;
}

/* The number of a mapped memory, which may be new; 0: it cannot be shared. */
static uint32_t memory_number(const Mapping *mapping) {
  const Memory *known = known_memory(mapping);
  if (known != NULL) {
    return (uint32_t)(known - memories) + 1;
  }
  struct stat status;
  int descriptor = -1;
  if (memory_count == VSOCKENC_MAX_MEMORIES ||
      (descriptor = reopen(mapping->device, mapping->inode)) < 0) {
    return 0;
  }
  if (fstat(descriptor, &status) < 0) {
    close(descriptor);
    return 0;
  }
  memories[memory_count] =
      (Memory){mapping->device, mapping->inode, descriptor, (uint64_t)status.st_size, true};
  return ++memory_count;
}

/*
 * Adds the mapping of a line of /proc/self/maps (proc_pid_maps(5)) if it is shared and of a file.
 * False: no memory.
 */
static bool add_mapping(const char *line) {
  unsigned long start, end, offset, inode;
  unsigned major_number, minor_number;
  char permissions[5];
  if (sscanf(line, "%lx-%lx %4s %lx %x:%x %lu", &start, &end, permissions, &offset, &major_number,
             &minor_number, &inode) != 7 ||
      permissions[3] != 's' || inode == 0) {
    return true;
  }
  if (mapping_count == mapping_capacity) {
    size_t capacity = MAX(64, 2 * mapping_capacity);
    Mapping *larger = realloc(mappings, capacity * sizeof *mappings);
    if (larger == NULL) {
      return false;
    }
    mappings = larger;
    mapping_capacity = capacity;
  }
  Mapping mapping = {start, end, offset, makedev(major_number, minor_number), inode};
  mappings[mapping_count++] = mapping;
  Memory *memory = known_memory(&mapping);
  if (memory != NULL) {
    memory->mapped = true;
  }
  return true;
}

/* False: they are incomplete, as the system has no memory or descriptors. */
static bool read_mappings(void) {
  mapping_count = 0;
  FILE *maps = fopen("/proc/self/maps", "re");
  if (maps == NULL) {
    return false;
  }
  for (unsigned index = 0; index < memory_count; index++) {
    memories[index].mapped = false;
  }
  char line[LINE_BYTES];
  bool complete = true;
  while (complete && fgets(line, sizeof line, maps) != NULL) {
    complete = add_mapping(line);
  }
  fclose(maps);
  if (!complete) {
    return false;
  }
  /* What QEMU has unplugged is not to be kept alive. */
  for (unsigned index = 0; index < memory_count; index++) {
    Memory *memory = &memories[index];
    if (!memory->mapped && memory->descriptor >= 0) {
      close(memory->descriptor);
      memory->descriptor = -1;
    }
  }
  return true;
}

static int compare(const void *key, const void *element) {
  uintptr_t address = *(const uintptr_t *)key;
  const Mapping *mapping = element;
  return address < mapping->start ? -1 : address >= mapping->end;
}

bool virgl_guest_memory_find(const void *address, size_t length, VirglMemoryPlace *place) {
  static int64_t valid_until_us;
  int64_t now = g_get_monotonic_time();
  if (now >= valid_until_us) {
    if (!read_mappings()) {
      return false;
    }
    valid_until_us = now + VALID_US;
  }
  uintptr_t start = (uintptr_t)address;
  const Mapping *mapping =
      mapping_count == 0 ? NULL
                         : bsearch(&start, mappings, mapping_count, sizeof *mappings, compare);
  uint32_t memory = mapping == NULL ? 0 : memory_number(mapping);
  if (memory == 0) {
    return false;
  }
  *place = (VirglMemoryPlace){memory, mapping->offset + (start - mapping->start),
                              MIN(length, (size_t)(mapping->end - start))};
  return true;
}

int virgl_guest_memory_descriptor(uint32_t memory, uint64_t *size) {
  *size = memories[memory - 1].size;
  return memories[memory - 1].descriptor;
}
