/*
 * Copying the pixels of a resource that the host renders.
 *
 * Theory of operation: textures are read in virglrenderer's context 0, behind a fence (reads.h).
 * The fence is a GL sync object of this library, which QEMU's own fences and callbacks do not see.
 * A fence holds for the commands of its context; those of others are flushed before it, and drivers
 * order them by the textures that they share, so the copy is right in any case. A driver that runs
 * contexts beside each other may pass the fence early; the copy then waits for this texture alone.
 *
 * Bytes of a blob in host memory are copied from its mapping, without a fence: whoever draws by
 * Vulkan has waited for a fence, because Vulkan has no implicit order.
 */
#ifndef VSOCKENC_VIRGL_PIXELS_H
#define VSOCKENC_VIRGL_PIXELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "export.pb.h"
#include "resources.h"

typedef struct {
  vsockenc_ExportErrorCode code; /* EXPORT_ERROR_UNSPECIFIED: none */
  const char *text;              /* static */
} VirglRefusal;

/* How a resource is read. False with `refusal` set: it cannot be. */
bool virgl_pixels_describe(const VirglResource *resource, vsockenc_Readable *readable,
                           VirglRefusal *refusal);

/* Puts a fence behind all commands so far. Only one may be open. */
void virgl_fence_begin(void);

/* Whether the GPU has passed the fence; ends it then. */
bool virgl_fence_passed(void);

/* Ends the fence without having waited for it; after a reset too. */
void virgl_fence_cancel(void);

/* Copies the pixels as virgl_pixels_describe() has said. False with `refusal` set: nothing was
 * read. */
bool virgl_pixels_copy(VirglResource *resource, const vsockenc_Readable *readable, void *to,
                       VirglRefusal *refusal);

#endif
