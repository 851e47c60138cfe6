/* A resource's pages as extents of the VM's memories. */
#ifndef VSOCKENC_VIRGL_EXTENTS_H
#define VSOCKENC_VIRGL_EXTENTS_H

#include "export.pb.h"
#include "pixels.h"
#include "resources.h"

typedef struct {
  const vsockenc_Extent *first;
  unsigned count;
} VirglExtents;

/*
 * The resource's first `bytes` bytes (0: all), or as many as it has; valid until the next call.
 * False with `refusal` set: they cannot be shared.
 */
bool virgl_extents_find(const VirglResource *resource, uint64_t bytes, VirglExtents *extents,
                        VirglRefusal *refusal);

/* The callback field of Acquired; `extents` has to stay. */
pb_callback_t virgl_extents_field(VirglExtents *extents);

#endif
