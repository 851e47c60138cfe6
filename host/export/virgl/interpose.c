/*
 * libvsockenc-virgl: stands between QEMU and libvirglrenderer, and exports the pixels of resources.
 *
 * Theory of operation: QEMU's virtio-gpu-gl calls libvirglrenderer's public API. This library
 * defines the functions of that API that create, back, map and free resources, forwards each, and
 * notes what it learns. All others reach libvirglrenderer directly. It comes before
 * libvirglrenderer by LD_PRELOAD, or in its place: a library named libvirglrenderer.so.1 that needs
 * the original by its path (CMakeLists.txt).
 *
 * QEMU calls virgl_renderer_init() when the guest's driver first uses the device, on its main loop.
 * Then, and only if VSOCKENC_EXPORT names a socket, the export service begins (server.h). Without
 * the variable nothing but the forwarding is done, so that other programs that inherit LD_PRELOAD
 * are not affected.
 */
#include "virgl.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "log.h"
#include "resources.h"
#include "server.h"

#define EXPORTED __attribute__((visibility("default")))

/* gallium's pipe_texture_target, as virgl_hw.h numbers it. */
enum { TARGET_TEXTURE_2D = 2, TARGET_TEXTURE_RECT = 5 };
/* VIRTIO_GPU_RESOURCE_FLAG_Y_0_TOP (virtio 1.2, 5.7.6.8). */
enum { FLAG_Y_0_TOP = 1 };

static VirglApi api;

const VirglApi *virgl_api(void) {
  return &api;
}

/*
 * The original library: loaded already by QEMU's device module, which is not in the global scope,
 * so RTLD_NEXT would not find it. In its place, this library has its name, and the original is
 * known by its path alone.
 */
static void *original(void) {
  static void *handle;
  if (handle == NULL) {
    handle = dlopen("libvirglrenderer.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (handle != NULL && dlsym(handle, "virgl_renderer_init") == (void *)virgl_renderer_init) {
      handle = dlopen(ORIGINAL_VIRGLRENDERER, RTLD_LAZY | RTLD_LOCAL);
    }
    if (handle == NULL) {
      /* QEMU links against it, so this is a broken installation; no call could be answered. */
      virgl_log("cannot load libvirglrenderer.so.1: %s. Reinstall it.", dlerror());
      abort();
    }
  }
  return handle;
}

/* Calls the original of the function that the macro stands in; TYPE is that of the function itself.
 */
#define ORIGINAL(name) ((__typeof__(&name))resolve(#name))

static void *resolve(const char *name) {
  void *function = dlsym(original(), name);
  if (function == NULL) {
    virgl_log("libvirglrenderer.so.1 has no %s: versions 0.10.4 and newer are supported.", name);
    abort();
  }
  return function;
}

EXPORTED int virgl_renderer_init(void *cookie, int flags,
                                 struct virgl_renderer_callbacks *callbacks) {
  int result = ORIGINAL(virgl_renderer_init)(cookie, flags, callbacks);
  const char *path = getenv("VSOCKENC_EXPORT");
  if (result == 0 && path != NULL && *path != '\0') {
    api = (VirglApi){
        .force_ctx_0 = ORIGINAL(virgl_renderer_force_ctx_0),
        .transfer_read_iov = ORIGINAL(virgl_renderer_transfer_read_iov),
        .resource_map = ORIGINAL(virgl_renderer_resource_map),
        .resource_unmap = ORIGINAL(virgl_renderer_resource_unmap),
        .resource_get_map_info = ORIGINAL(virgl_renderer_resource_get_map_info),
    };
    virgl_server_start(path);
  }
  return result;
}

EXPORTED void virgl_renderer_cleanup(void *cookie) {
  virgl_server_reset();
  ORIGINAL(virgl_renderer_cleanup)(cookie);
}

EXPORTED void virgl_renderer_reset(void) {
  virgl_server_reset();
  ORIGINAL(virgl_renderer_reset)();
}

EXPORTED int virgl_renderer_resource_create(struct virgl_renderer_resource_create_args *args,
                                            struct iovec *pages, uint32_t runs) {
  int result = ORIGINAL(virgl_renderer_resource_create)(args, pages, runs);
  if (result == 0) {
    bool picture = (args->target == TARGET_TEXTURE_2D || args->target == TARGET_TEXTURE_RECT) &&
                   args->depth <= 1 && args->array_size <= 1 && args->nr_samples <= 1;
    virgl_resources_add(&(VirglResource){
        .id = args->handle,
        .kind = picture ? VIRGL_KIND_TEXTURE : VIRGL_KIND_OTHER,
        .width = args->width,
        .height = args->height,
        .format = args->format,
        /* As QEMU fills it in for CREATE_2D (virgl_cmd_create_resource_2d); Mesa asks for more
           bindings. */
        .made_2d = args->bind == VIRGL_RES_BIND_RENDER_TARGET && args->flags == FLAG_Y_0_TOP,
        .pages = pages,
        .page_runs = runs,
    });
  }
  return result;
}

EXPORTED int virgl_renderer_resource_create_blob(
    const struct virgl_renderer_resource_create_blob_args *args) {
  int result = ORIGINAL(virgl_renderer_resource_create_blob)(args);
  if (result == 0) {
    virgl_resources_add(&(VirglResource){
        .id = args->res_handle,
        .kind = VIRGL_KIND_BLOB,
        .blob_size = args->size,
        .host_memory = args->blob_mem == VIRGL_RENDERER_BLOB_MEM_HOST3D ||
                       args->blob_mem == VIRGL_RENDERER_BLOB_MEM_HOST3D_GUEST,
        .pages = args->iovecs,
        .page_runs = args->num_iovs,
    });
  }
  return result;
}

EXPORTED void virgl_renderer_resource_unref(uint32_t id) {
  virgl_resources_remove(id);
  ORIGINAL(virgl_renderer_resource_unref)(id);
}

EXPORTED int virgl_renderer_resource_attach_iov(int id, struct iovec *pages, int runs) {
  int result = ORIGINAL(virgl_renderer_resource_attach_iov)(id, pages, runs);
  if (result == 0) {
    virgl_resources_set_pages((uint32_t)id, pages, (unsigned)runs);
  }
  return result;
}

EXPORTED void virgl_renderer_resource_detach_iov(int id, struct iovec **pages, int *runs) {
  virgl_resources_set_pages((uint32_t)id, NULL, 0);
  ORIGINAL(virgl_renderer_resource_detach_iov)(id, pages, runs);
}

/* virglrenderer maps a resource once; where this library has mapped it first, QEMU gets that
 * mapping. */
EXPORTED int virgl_renderer_resource_map(uint32_t id, void **map, uint64_t *size) {
  VirglResource *resource = virgl_resources_find(id);
  if (resource != NULL && resource->map != NULL && !resource->mapped_by_qemu) {
    resource->mapped_by_qemu = true;
    *map = resource->map;
    *size = resource->map_size;
    return 0;
  }
  int result = ORIGINAL(virgl_renderer_resource_map)(id, map, size);
  if (result == 0 && resource != NULL) {
    resource->map = *map;
    resource->map_size = *size;
    resource->mapped_by_qemu = true;
  }
  return result;
}

EXPORTED int virgl_renderer_resource_unmap(uint32_t id) {
  VirglResource *resource = virgl_resources_find(id);
  if (resource != NULL) {
    resource->map = NULL;
    resource->mapped_by_qemu = false;
  }
  return ORIGINAL(virgl_renderer_resource_unmap)(id);
}
