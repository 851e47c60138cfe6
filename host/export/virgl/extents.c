#include "extents.h"

#include <glib.h>
#include <pb_encode.h>

#include "guest-memory.h"
#include "vsockenc-limits.h"

/* Not allocated, because a guest decides how many there are. */
static vsockenc_Extent found[VSOCKENC_MAX_EXTENTS];

/* Adds a run. False: there are too many. */
static bool append(VirglExtents *extents, const VirglMemoryPlace *place) {
  vsockenc_Extent *last = extents->count == 0 ? NULL : &found[extents->count - 1];
  if (last != NULL && last->memory == place->memory &&
      last->offset + last->length == place->offset) {
    last->length += place->length;
    return true;
  }
  if (extents->count == VSOCKENC_MAX_EXTENTS) {
    return false;
  }
  found[extents->count++] = (vsockenc_Extent){place->memory, place->offset, place->length};
  return true;
}

bool virgl_extents_find(const VirglResource *resource, uint64_t bytes, VirglExtents *extents,
                        VirglRefusal *refusal) {
  *extents = (VirglExtents){found, 0};
  if (resource->page_runs == 0) {
    *refusal = (VirglRefusal){vsockenc_ExportErrorCode_RESOURCE_WITHOUT_BACKING,
                              "it has no pages of the guest"};
    return false;
  }
  uint64_t needed = bytes == 0 ? UINT64_MAX : bytes;
  for (unsigned run = 0; run < resource->page_runs && needed > 0; run++) {
    const uint8_t *at = resource->pages[run].iov_base;
    size_t left = MIN(resource->pages[run].iov_len, needed);
    needed -= left;
    while (left > 0) {
      VirglMemoryPlace place;
      if (!virgl_guest_memory_find(at, left, &place)) {
        *refusal = (VirglRefusal){vsockenc_ExportErrorCode_RESOURCE_NOT_SHAREABLE,
                                  "the VM's memory cannot be shared: give QEMU a "
                                  "memory-backend-memfd with share=on"};
        return false;
      }
      if (!append(extents, &place)) {
        *refusal = (VirglRefusal){vsockenc_ExportErrorCode_RESOURCE_NOT_SHAREABLE,
                                  "its pages lie in more than MAX_EXTENTS runs of memory"};
        return false;
      }
      at += place.length;
      left -= place.length;
    }
  }
  return true;
}

static bool encode(pb_ostream_t *stream, const pb_field_t *field, void *const *argument) {
  const VirglExtents *extents = *argument;
  for (unsigned index = 0; index < extents->count; index++) {
    if (!pb_encode_tag_for_field(stream, field) ||
        !pb_encode_submessage(stream, vsockenc_Extent_fields, &extents->first[index])) {
      return false;
    }
  }
  return true;
}

pb_callback_t virgl_extents_field(VirglExtents *extents) {
  return (pb_callback_t){.funcs.encode = encode, .arg = extents};
}
