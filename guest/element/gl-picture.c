#include "gl-picture.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#include "planes.h"
#include "virtgpu.h"

/* Constants of gbm.h, EGL and OpenGL ES, so that no headers of theirs are needed. */
#define GBM_BO_USE_RENDERING (1u << 2)
#define MODIFIER_UNKNOWN 0x00ffffffffffffffu
#define EGL_PLATFORM_GBM 0x31d7
#define EGL_OPENGL_ES_API 0x30a0
#define EGL_NONE 0x3038
#define EGL_CONTEXT_MAJOR_VERSION 0x3098
#define EGL_NATIVE_PIXMAP 0x30b0
#define GL_RENDERER 0x1f01
#define GL_FRAMEBUFFER 0x8d40
#define GL_RENDERBUFFER 0x8d41
#define GL_COLOR_ATTACHMENT0 0x8ce0
#define GL_FRAMEBUFFER_COMPLETE 0x8cd5
#define GL_SCISSOR_TEST 0x0c11
#define GL_COLOR_BUFFER_BIT 0x4000

/* A tile of the ground. Upon it every row has a stroke, so no two rows are equal. */
#define TILE 32u

#define GBM_FUNCTIONS(X)                                                 \
  X(void *, gbm_create_device, (int fd))                                 \
  X(void, gbm_device_destroy, (void *device))                            \
  X(void *, gbm_bo_create, (void *, guint32, guint32, guint32, guint32)) \
  X(void, gbm_bo_destroy, (void *bo))                                    \
  X(int, gbm_bo_get_fd, (void *bo))                                      \
  X(guint32, gbm_bo_get_stride, (void *bo))                              \
  X(guint32, gbm_bo_get_offset, (void *bo, int plane))                   \
  X(guint64, gbm_bo_get_modifier, (void *bo))

#define EGL_FUNCTIONS(X)                                                        \
  X(void *, eglGetPlatformDisplay, (unsigned, void *, const gintptr *))         \
  X(unsigned, eglInitialize, (void *, int *, int *))                            \
  X(unsigned, eglTerminate, (void *))                                           \
  X(unsigned, eglBindAPI, (unsigned))                                           \
  X(void *, eglCreateContext, (void *, void *, void *, const int *))            \
  X(unsigned, eglMakeCurrent, (void *, void *, void *, void *))                 \
  X(void *, eglCreateImageKHR, (void *, void *, unsigned, void *, const int *)) \
  X(const guint8 *, glGetString, (unsigned))                                    \
  X(void, glGenRenderbuffers, (int, unsigned *))                                \
  X(void, glBindRenderbuffer, (unsigned, unsigned))                             \
  X(void, glEGLImageTargetRenderbufferStorageOES, (unsigned, void *))           \
  X(void, glGenFramebuffers, (int, unsigned *))                                 \
  X(void, glBindFramebuffer, (unsigned, unsigned))                              \
  X(void, glFramebufferRenderbuffer, (unsigned, unsigned, unsigned, unsigned))  \
  X(unsigned, glCheckFramebufferStatus, (unsigned))                             \
  X(void, glEnable, (unsigned))                                                 \
  X(void, glScissor, (int, int, int, int))                                      \
  X(void, glClearColor, (float, float, float, float))                           \
  X(void, glClear, (unsigned))                                                  \
  X(void, glFinish, (void))

#define FIELD(result, name, arguments) result(*name) arguments;
#define SYMBOL(result, name, arguments) {#name, offsetof(Api, name)},

typedef struct {
  GBM_FUNCTIONS(FIELD)
  EGL_FUNCTIONS(FIELD)
} Api;

typedef struct {
  const gchar *name;
  gsize offset;
} Symbol;

static const Symbol gbm_symbols[] = {GBM_FUNCTIONS(SYMBOL)};
static const Symbol egl_symbols[] = {EGL_FUNCTIONS(SYMBOL)};

typedef struct {
  Api api;
  void *gbm, *bo, *display;
  guint width, height;
  guint32 *pixels; /* as they must be on the host */
} Drawing;

static gboolean fail(GError **error, const gchar *what) {
  g_set_error(error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED, "this guest has no OpenGL: %s", what);
  return FALSE;
}

/* Fills the table with a library's functions, which `get` finds, or NULL: the dynamic linker. */
static gboolean load(Api *api, const gchar *library, const Symbol *symbols, gsize count,
                     GError **error) {
  void *(*get)(const char *) = NULL;
  void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (!handle) return fail(error, dlerror());
  /* OpenGL's functions come from EGL as well. */
  *(void **)&get = dlsym(handle, "eglGetProcAddress");
  for (gsize i = 0; i < count; i++) {
    void *address = get ? get(symbols[i].name) : dlsym(handle, symbols[i].name);
    if (!address) return fail(error, symbols[i].name);
    *(void **)((guint8 *)api + symbols[i].offset) = address;
  }
  return TRUE;
}

/* Makes a context current that draws into the buffer; it is bound as the framebuffer. */
static gboolean begin(Drawing *drawing, GError **error) {
  static const int context_attributes[] = {EGL_CONTEXT_MAJOR_VERSION, 2, EGL_NONE};
  const Api *api = &drawing->api;
  unsigned renderbuffer, framebuffer;

  drawing->display = api->eglGetPlatformDisplay(EGL_PLATFORM_GBM, drawing->gbm, NULL);
  if (!drawing->display || !api->eglInitialize(drawing->display, NULL, NULL))
    return fail(error, "EGL cannot use the GPU (Debian: libegl1, libgl1-mesa-dri)");
  api->eglBindAPI(EGL_OPENGL_ES_API);
  void *context = api->eglCreateContext(drawing->display, NULL, NULL, context_attributes);
  if (!context || !api->eglMakeCurrent(drawing->display, NULL, NULL, context))
    return fail(error, "no OpenGL ES 2 context without a surface");
  const gchar *renderer = (const gchar *)api->glGetString(GL_RENDERER);
  if (!renderer || g_str_has_prefix(renderer, "llvmpipe") ||
      g_str_has_prefix(renderer, "softpipe") || g_str_has_prefix(renderer, "swrast"))
    return fail(error, "Mesa draws on the CPU, without a driver for this virtio-gpu");
  void *image =
      api->eglCreateImageKHR(drawing->display, NULL, EGL_NATIVE_PIXMAP, drawing->bo, NULL);
  if (!image) return fail(error, "EGL makes no image of a GBM buffer");
  api->glGenRenderbuffers(1, &renderbuffer);
  api->glBindRenderbuffer(GL_RENDERBUFFER, renderbuffer);
  api->glEGLImageTargetRenderbufferStorageOES(GL_RENDERBUFFER, image);
  api->glGenFramebuffers(1, &framebuffer);
  api->glBindFramebuffer(GL_FRAMEBUFFER, framebuffer);
  api->glFramebufferRenderbuffer(GL_FRAMEBUFFER, GL_COLOR_ATTACHMENT0, GL_RENDERBUFFER,
                                 renderbuffer);
  if (api->glCheckFramebufferStatus(GL_FRAMEBUFFER) != GL_FRAMEBUFFER_COMPLETE)
    return fail(error, "the GPU cannot draw into a GBM buffer");
  api->glEnable(GL_SCISSOR_TEST);
  return TRUE;
}

/* A rectangle of one random colour, by the GPU and in `pixels`: clearing needs no shader. */
static void fill(Drawing *drawing, guint x, guint y, guint width, guint height) {
  const guint32 colour = g_random_int(); /* A, R, G, B from the top byte on */
  const Api *api = &drawing->api;
  width = MIN(width, drawing->width - x);
  height = MIN(height, drawing->height - y);
  api->glScissor((int)x, (int)y, (int)width, (int)height);
  api->glClearColor((float)(colour >> 16 & 255) / 255, (float)(colour >> 8 & 255) / 255,
                    (float)(colour & 255) / 255, (float)(colour >> 24) / 255);
  api->glClear(GL_COLOR_BUFFER_BIT);
  for (guint row = y; row < y + height; row++)
    for (guint column = x; column < x + width; column++)
      drawing->pixels[row * drawing->width + column] = GUINT32_TO_LE(colour);
}

static void draw(Drawing *drawing) {
  for (guint y = 0; y < drawing->height; y += TILE)
    for (guint x = 0; x < drawing->width; x += TILE) fill(drawing, x, y, TILE, TILE);
  for (guint y = 0; y < drawing->height; y++)
    fill(drawing, (guint)g_random_int_range(0, (gint)drawing->width), y, TILE, 1);
  /* Not glFlush(): Vulkan's commands, which Mesa may use below, have no order with the host's. */
  drawing->api.glFinish();
}

static gboolean export(const Drawing *drawing, VencGlPicture *picture, GError **error) {
  const Api *api = &drawing->api;
  const VencPixels pixels = {1,
                             {{.data = (const guint8 *)drawing->pixels,
                               .stride = (gsize)drawing->width * 4,
                               .row_bytes = (gsize)drawing->width * 4,
                               .rows = drawing->height}}};
  guint64 modifier = api->gbm_bo_get_modifier(drawing->bo);
  *picture = (VencGlPicture){.fd = api->gbm_bo_get_fd(drawing->bo),
                             .stride = api->gbm_bo_get_stride(drawing->bo),
                             .offset = api->gbm_bo_get_offset(drawing->bo, 0),
                             .modifier = modifier == MODIFIER_UNKNOWN ? 0 : modifier,
                             .crc = venc_pixels_crc(&pixels)};
  return picture->fd >= 0 || fail(error, "GBM exports no DmaBuf");
}

static void clear(Drawing *drawing) {
  const Api *api = &drawing->api;
  if (drawing->display) {
    api->eglMakeCurrent(drawing->display, NULL, NULL, NULL);
    api->eglTerminate(drawing->display); /* with its contexts and images */
  }
  if (drawing->bo) api->gbm_bo_destroy(drawing->bo);
  if (drawing->gbm) api->gbm_device_destroy(drawing->gbm);
  g_free(drawing->pixels);
}

gboolean venc_gl_draw(const gchar *node, guint width, guint height, VencGlPicture *picture,
                      GError **error) {
  Drawing drawing = {.width = width, .height = height};
  /* Not the element's descriptor, as Mesa closes handles of its own (virtgpu.h). */
  int drm = open(node, O_RDWR | O_CLOEXEC);
  if (drm < 0) return fail(error, g_strerror(errno));
  gboolean drawn =
      load(&drawing.api, "libgbm.so.1", gbm_symbols, G_N_ELEMENTS(gbm_symbols), error) &&
      load(&drawing.api, "libEGL.so.1", egl_symbols, G_N_ELEMENTS(egl_symbols), error);
  if (drawn) {
    drawing.pixels = g_new0(guint32, (gsize)width * height);
    drawing.gbm = drawing.api.gbm_create_device(drm);
    if (drawing.gbm)
      drawing.bo = drawing.api.gbm_bo_create(drawing.gbm, width, height, VENC_GL_FOURCC,
                                             GBM_BO_USE_RENDERING);
    drawn = drawing.bo ? begin(&drawing, error)
                       : fail(error, "GBM has no driver for this GPU (Debian: libgl1-mesa-dri)");
  }
  if (drawn) {
    draw(&drawing);
    drawn = export(&drawing, picture, error);
  }
  clear(&drawing);
  close(drm);
  return drawn;
}
