#include "pixels.h"

#include <epoxy/gl.h>
#include <string.h>

#include "virgl.h"
#include "vsockenc-limits.h"

static GLsync fence;

/* Bytes of a pixel; 0: a format that is no plane of a stream. Numbers of enum virgl_formats
 * (virgl_hw.h). */
static uint32_t pixel_bytes(uint32_t format) {
  switch (format) {
    case 1:   /* B8G8R8A8 */
    case 2:   /* B8G8R8X8 */
    case 3:   /* A8R8G8B8 */
    case 4:   /* X8R8G8B8 */
    case 67:  /* R8G8B8A8 */
    case 68:  /* X8B8G8R8 */
    case 121: /* A8B8G8R8 */
    case 134: /* R8G8B8X8 */
      return 4;
    case 65: /* R8G8: NV12's second plane */
      return 2;
    case 64: /* R8 */
      return 1;
    default:
      return 0;
  }
}

static bool refuse(VirglRefusal *refusal, vsockenc_ExportErrorCode code, const char *text) {
  *refusal = (VirglRefusal){code, text};
  return false;
}

bool virgl_pixels_describe(const VirglResource *resource, vsockenc_Readable *readable,
                           VirglRefusal *refusal) {
  switch (resource->kind) {
    case VIRGL_KIND_TEXTURE: {
      uint32_t bytes = pixel_bytes(resource->format);
      if (bytes == 0) {
        return refuse(refusal, vsockenc_ExportErrorCode_RESOURCE_UNREADABLE,
                      "its format is none of the 8-bit RGB formats, R8 or R8G8");
      }
      if (resource->width > VSOCKENC_MAX_DIMENSION || resource->height > VSOCKENC_MAX_DIMENSION) {
        return refuse(refusal, vsockenc_ExportErrorCode_RESOURCE_UNREADABLE,
                      "it is wider or higher than MAX_DIMENSION");
      }
      uint32_t stride = resource->width * bytes;
      *readable = (vsockenc_Readable){stride, (uint64_t)stride * resource->height};
      return true;
    }
    case VIRGL_KIND_BLOB: {
      uint32_t caching = 0;
      /* An error: not known, as for virgl's buffers on most drivers. */
      if (virgl_api()->resource_get_map_info(resource->id, &caching) == 0 &&
          (caching & VIRGL_RENDERER_MAP_CACHE_MASK) != VIRGL_RENDERER_MAP_CACHE_CACHED) {
        return refuse(refusal, vsockenc_ExportErrorCode_RESOURCE_UNREADABLE,
                      "the CPU does not cache its memory: reading it would stall the VM");
      }
      *readable = (vsockenc_Readable){0, resource->blob_size};
      return true;
    }
    default:
      return refuse(refusal, vsockenc_ExportErrorCode_RESOURCE_UNREADABLE,
                    "it is a buffer, an array or a 3D texture, not a picture");
  }
}

void virgl_fence_begin(void) {
  virgl_api()->force_ctx_0();
  fence = glFenceSync(GL_SYNC_GPU_COMMANDS_COMPLETE, 0);
  glFlush();
}

bool virgl_fence_passed(void) {
  if (fence == NULL) {
    return true;
  }
  virgl_api()->force_ctx_0();
  if (glClientWaitSync(fence, 0, 0) == GL_TIMEOUT_EXPIRED) {
    return false;
  }
  glDeleteSync(fence);
  fence = NULL;
  return true;
}

void virgl_fence_cancel(void) {
  if (fence != NULL) {
    virgl_api()->force_ctx_0();
    glDeleteSync(fence);
    fence = NULL;
  }
}

static bool copy_texture(const VirglResource *resource, const vsockenc_Readable *readable,
                         void *to) {
  struct virgl_box box = {.w = resource->width, .h = resource->height, .d = 1};
  struct iovec target = {to, readable->bytes};
  /* Any result but 0 is a failure; versions differ in its sign. */
  return virgl_api()->transfer_read_iov(resource->id, 0, 0, readable->stride, 0, &box, 0, &target,
                                        1) == 0;
}

static bool copy_blob(VirglResource *resource, const vsockenc_Readable *readable, void *to) {
  virgl_api()->force_ctx_0();
  if (resource->map == NULL &&
      virgl_api()->resource_map(resource->id, &resource->map, &resource->map_size) != 0) {
    resource->map = NULL;
    return false;
  }
  if (resource->map_size < readable->bytes) {
    return false;
  }
  memcpy(to, resource->map, readable->bytes);
  return true;
}

bool virgl_pixels_copy(VirglResource *resource, const vsockenc_Readable *readable, void *to,
                       VirglRefusal *refusal) {
  bool copied = resource->kind == VIRGL_KIND_TEXTURE ? copy_texture(resource, readable, to)
                                                     : copy_blob(resource, readable, to);
  return copied || refuse(refusal, vsockenc_ExportErrorCode_RESOURCE_UNREADABLE,
                          "virglrenderer cannot read it");
}
