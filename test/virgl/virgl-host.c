/*
 * Plays QEMU for libvsockenc-virgl: a GLib main loop, GL contexts without a surface, and
 * virglrenderer, driven by lines on standard input. So protocol, order and failures are tested in
 * seconds, without a VM, and under sanitizers.
 *
 *   texture ID WIDTH HEIGHT FORMAT   RESOURCE_CREATE_3D of a picture; VIRGL_FORMAT_*
 *   buffer ID BYTES                  RESOURCE_CREATE_3D of a buffer
 *   dumb ID WIDTH HEIGHT RUN         RESOURCE_CREATE_2D (B8G8R8X8); pages in runs of RUN pages of
 * the VM's shared memory, the last first; RUN 0: in private memory guestblob ID BYTES
 * RESOURCE_CREATE_BLOB of pages hostblob ID BYTES                RESOURCE_CREATE_BLOB of a buffer
 * of the host map ID SEED | unmap ID           RESOURCE_MAP_BLOB, and the CPU writes as with
 * `write`; UNMAP write ID SEED                    the CPU writes bytes SEED, SEED+1, … into the
 * pages upload ID                        TRANSFER_TO_HOST_2D paint ID SEED                    the
 * GPU draws picture SEED: cells of CELL pixels busy ID COUNT                    the GPU gets COUNT
 * slow draws, into a texture detach ID | unref ID | reset     as the guest's commands descriptors
 * answers "ok" and how many are open fail N | failures                the N-th allocation from now
 * fails (0: none); answers "ok" and how many there have been
 *
 * Each line is answered by "ok" or "error". As in QEMU, lines are handled by a "bottom half": a
 * source of QEMU's priority that is scheduled when they have come. End of input: frees all and
 * ends.
 */
#include <dirent.h>
#include <epoxy/egl.h>
#include <epoxy/gl.h>
#include <glib-unix.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <virglrenderer.h>

#ifdef WITH_FAULTS
#include "faults.h"
#endif

enum { CELL = 16, PAGE = 4096, MEMORY_BYTES = 64 << 20, BUFFER = 0, TEXTURE_2D = 2 };
/* virgl_hw.h and virgl_protocol.h of virglrenderer. */
enum { B8G8R8X8 = 2, R8 = 64, Y_0_TOP = 1, MAP_PERSISTENT_COHERENT = 6, PIPE_RESOURCE_CREATE = 48 };
enum { CONTEXT = 1 };

typedef struct {
  uint32_t x, y, z, w, h, d;
} Box; /* struct virgl_box, which is in no public header */

typedef struct {
  struct iovec *runs;
  unsigned count;
  uint32_t width, height;
} Pages;

static GMainLoop *loop;
static GString *input;
static GHashTable *pages_by_id; /* of Pages */
static EGLDisplay display;
static EGLConfig config;
static EGLContext own; /* draws as a guest's context does; shares textures with virglrenderer's */
static bool gles;
static bool has_context;
static uint8_t *memory;
static size_t memory_used;

static void require(bool condition, const char *what) {
  if (!condition) {
    fprintf(stderr, "virgl-host: %s\n", what);
    exit(1);
  }
}

static EGLContext create_context(int major, int minor) {
  const EGLint attributes[] = {EGL_CONTEXT_MAJOR_VERSION, major, EGL_CONTEXT_MINOR_VERSION, minor,
                               EGL_NONE};
  return eglCreateContext(display, config, own, attributes);
}

static virgl_renderer_gl_context on_create_context(void *cookie, int scanout,
                                                   struct virgl_renderer_gl_ctx_param *wanted) {
  (void)cookie;
  (void)scanout;
  return create_context(wanted->major_ver, wanted->minor_ver);
}

static void on_destroy_context(void *cookie, virgl_renderer_gl_context context) {
  (void)cookie;
  eglDestroyContext(display, context);
}

static int on_make_current(void *cookie, int scanout, virgl_renderer_gl_context context) {
  (void)cookie;
  (void)scanout;
  return eglMakeCurrent(display, EGL_NO_SURFACE, EGL_NO_SURFACE, context) ? 0 : -1;
}

static void on_fence(void *cookie, uint32_t fence) {
  (void)cookie;
  (void)fence;
  require(false, "a fence was reported that QEMU has not made");
}

static struct virgl_renderer_callbacks callbacks = {
    .version = 1,
    .write_fence = on_fence,
    .create_gl_context = on_create_context,
    .destroy_gl_context = on_destroy_context,
    .make_current = on_make_current,
};

static bool create(uint32_t id, uint32_t target, uint32_t width, uint32_t height, uint32_t format,
                   uint32_t bind, uint32_t flags) {
  struct virgl_renderer_resource_create_args args = {.handle = id,
                                                     .target = target,
                                                     .format = format,
                                                     .bind = bind,
                                                     .width = width,
                                                     .height = height,
                                                     .depth = 1,
                                                     .array_size = 1,
                                                     .flags = flags};
  return virgl_renderer_resource_create(&args, NULL, 0) == 0;
}

/* Pages for a resource. @param run_pages 0: private memory */
static Pages *allocate(uint32_t id, size_t bytes, uint32_t run_pages) {
  size_t run_bytes = run_pages == 0 ? bytes : (size_t)run_pages * PAGE;
  size_t count = (bytes + run_bytes - 1) / run_bytes;
  uint8_t *start = memory + memory_used;
  if (run_pages == 0) {
    static uint8_t private_memory[64 * 64 * 4];
    require(bytes <= sizeof private_memory, "so large a private resource is not provided for");
    start = private_memory;
  } else {
    require(memory_used + count * run_bytes <= MEMORY_BYTES, "the VM's memory is full");
    memory_used += count * run_bytes;
  }
  Pages *pages = g_new0(Pages, 1);
  pages->runs = g_new0(struct iovec, count);
  pages->count = (unsigned)count;
  for (size_t run = 0; run < count; run++) {
    size_t left = bytes - run * run_bytes;
    pages->runs[run] = (struct iovec){start + (count - 1 - run) * run_bytes, MIN(run_bytes, left)};
  }
  g_hash_table_insert(pages_by_id, GUINT_TO_POINTER(id), pages);
  return pages;
}

static void free_pages(gpointer data) {
  Pages *pages = data;
  g_free(pages->runs);
  g_free(pages);
}

static bool create_dumb(uint32_t id, uint32_t width, uint32_t height, uint32_t run_pages) {
  if (!create(id, TEXTURE_2D, width, height, B8G8R8X8, VIRGL_RES_BIND_RENDER_TARGET, Y_0_TOP)) {
    return false;
  }
  Pages *pages = allocate(id, (size_t)width * height * 4, run_pages);
  pages->width = width;
  pages->height = height;
  return virgl_renderer_resource_attach_iov((int)id, pages->runs, (int)pages->count) == 0;
}

static bool create_guest_blob(uint32_t id, uint32_t bytes) {
  const Pages *pages = allocate(id, bytes, 1);
  const struct virgl_renderer_resource_create_blob_args args = {
      .res_handle = id,
      .blob_mem = VIRGL_RENDERER_BLOB_MEM_GUEST,
      .blob_flags = VIRGL_RENDERER_BLOB_FLAG_USE_MAPPABLE,
      .size = bytes,
      .iovecs = pages->runs,
      .num_iovs = pages->count};
  return virgl_renderer_resource_create_blob(&args) == 0;
}

static bool create_host_blob(uint32_t id, uint32_t bytes) {
  has_context = has_context || virgl_renderer_context_create(CONTEXT, 4, "test") == 0;
  uint32_t command[] = {PIPE_RESOURCE_CREATE | 11 << 16,
                        BUFFER,
                        R8,
                        VIRGL_RES_BIND_VERTEX_BUFFER,
                        bytes,
                        1,
                        1,
                        1,
                        0,
                        0,
                        MAP_PERSISTENT_COHERENT,
                        id};
  if (virgl_renderer_submit_cmd(command, CONTEXT, G_N_ELEMENTS(command)) != 0) {
    return false;
  }
  const struct virgl_renderer_resource_create_blob_args args = {
      .res_handle = id,
      .ctx_id = CONTEXT,
      .blob_mem = VIRGL_RENDERER_BLOB_MEM_HOST3D,
      .blob_flags = VIRGL_RENDERER_BLOB_FLAG_USE_MAPPABLE,
      .blob_id = id,
      .size = bytes};
  return virgl_renderer_resource_create_blob(&args) == 0;
}

static void fill(uint8_t *bytes, size_t size, unsigned *value) {
  for (size_t index = 0; index < size; index++) {
    bytes[index] = (uint8_t)(*value)++;
  }
}

static bool map_blob(uint32_t id, unsigned seed) {
  void *data = NULL;
  uint64_t size = 0;
  virgl_renderer_force_ctx_0();
  if (virgl_renderer_resource_map(id, &data, &size) != 0) {
    return false;
  }
  fill(data, size, &seed);
  return true;
}

static bool write_pages(uint32_t id, unsigned seed) {
  const Pages *pages = g_hash_table_lookup(pages_by_id, GUINT_TO_POINTER(id));
  for (unsigned run = 0; pages != NULL && run < pages->count; run++) {
    fill(pages->runs[run].iov_base, pages->runs[run].iov_len, &seed);
  }
  return pages != NULL;
}

static bool upload(uint32_t id) {
  const Pages *pages = g_hash_table_lookup(pages_by_id, GUINT_TO_POINTER(id));
  if (pages == NULL) {
    return false;
  }
  Box box = {.w = pages->width, .h = pages->height, .d = 1};
  virgl_renderer_force_ctx_0();
  return virgl_renderer_transfer_write_iov(id, 0, 0, 0, 0, (struct virgl_box *)&box, 0, NULL, 0) ==
         0;
}

static bool detach(uint32_t id) {
  struct iovec *runs = NULL;
  int count = 0;
  virgl_renderer_resource_detach_iov((int)id, &runs, &count);
  return g_hash_table_remove(pages_by_id, GUINT_TO_POINTER(id));
}

/* Makes the guest's context current, with the texture as its target. */
static bool draw_to(uint32_t id, struct virgl_renderer_resource_info *info) {
  virgl_renderer_force_ctx_0();
  if (virgl_renderer_resource_get_info((int)id, info) != 0 || info->tex_id == 0) {
    return false;
  }
  eglMakeCurrent(display, EGL_NO_SURFACE, EGL_NO_SURFACE, own);
  static GLuint framebuffer;
  if (framebuffer == 0) {
    glGenFramebuffers(1, &framebuffer);
  }
  glBindFramebuffer(GL_FRAMEBUFFER, framebuffer);
  glFramebufferTexture2D(GL_FRAMEBUFFER, GL_COLOR_ATTACHMENT0, GL_TEXTURE_2D, info->tex_id, 0);
  glViewport(0, 0, (GLsizei)info->width, (GLsizei)info->height);
  return glCheckFramebufferStatus(GL_FRAMEBUFFER) == GL_FRAMEBUFFER_COMPLETE;
}

/* Cell (column, row) is red column × 8 + seed, green row × 8, blue seed, alpha 255 − seed; modulo
 * 256. */
static bool paint(uint32_t id, unsigned seed) {
  struct virgl_renderer_resource_info info;
  if (!draw_to(id, &info)) {
    return false;
  }
  glEnable(GL_SCISSOR_TEST);
  for (uint32_t y = 0; y < info.height; y += CELL) {
    for (uint32_t x = 0; x < info.width; x += CELL) {
      float red = (uint8_t)(x / CELL * 8 + seed);
      float green = (uint8_t)(y / CELL * 8);
      float blue = (uint8_t)seed;
      glScissor((GLint)x, (GLint)y, CELL, CELL);
      glClearColor(red / 255, green / 255, blue / 255, (255 - blue) / 255);
      glClear(GL_COLOR_BUFFER_BIT);
    }
  }
  glDisable(GL_SCISSOR_TEST);
  return true;
}

static GLuint compile(GLenum kind, const char *body) {
  const char *text[] = {gles ? "#version 300 es\nprecision highp float;\n" : "#version 330 core\n",
                        body};
  GLuint shader = glCreateShader(kind);
  glShaderSource(shader, 2, text, NULL);
  glCompileShader(shader);
  return shader;
}

static bool be_busy(uint32_t id, unsigned count) {
  struct virgl_renderer_resource_info info;
  if (!draw_to(id, &info)) {
    return false;
  }
  static GLuint program;
  if (program == 0) {
    program = glCreateProgram();
    glAttachShader(program, compile(GL_VERTEX_SHADER,
                                    "void main() { gl_Position = vec4(float(gl_VertexID & 1) * 4.0 "
                                    "- 1.0, float(gl_VertexID >> 1) * 4.0 - 1.0, 0, 1); }"));
    glAttachShader(program,
                   compile(GL_FRAGMENT_SHADER,
                           "out vec4 colour; void main() { float v = gl_FragCoord.x; for "
                           "(int i = 0; i < 200; i++) v = sin(v) + 1.0; colour = vec4(v); }"));
    glLinkProgram(program);
    GLuint vertices;
    glGenVertexArrays(1, &vertices);
    glBindVertexArray(vertices);
  }
  glUseProgram(program);
  for (unsigned index = 0; index < count; index++) {
    glDrawArrays(GL_TRIANGLES, 0, 3);
  }
  return true;
}

static bool reset(void) {
  virgl_renderer_reset();
  has_context = false;
  g_hash_table_remove_all(pages_by_id);
  return virgl_renderer_init(&callbacks, 0, &callbacks) == 0;
}

/* Without the one that counts. */
static long open_descriptors(void) {
  DIR *folder = opendir("/proc/self/fd");
  long count = -3;
  while (readdir(folder) != NULL) {
    count++;
  }
  closedir(folder);
  return count;
}

/* @param answer a number after "ok"; -1: none */
static bool handle(const char *line, long *answer) {
  char name[16];
  uint32_t id = 0, a = 0, b = 0, c = 0;
  if (sscanf(line, "%15s %u %u %u %u", name, &id, &a, &b, &c) < 1) {
    return false;
  }
  const uint32_t drawn = VIRGL_RES_BIND_RENDER_TARGET | VIRGL_RES_BIND_SAMPLER_VIEW;
  virgl_renderer_force_ctx_0(); /* as QEMU does before each command */
  if (strcmp(name, "texture") == 0) return create(id, TEXTURE_2D, a, b, c, drawn, 0);
  if (strcmp(name, "buffer") == 0) return create(id, BUFFER, a, 1, R8, VIRGL_RES_BIND_CUSTOM, 0);
  if (strcmp(name, "dumb") == 0) return create_dumb(id, a, b, c);
  if (strcmp(name, "guestblob") == 0) return create_guest_blob(id, a);
  if (strcmp(name, "hostblob") == 0) return create_host_blob(id, a);
  if (strcmp(name, "map") == 0) return map_blob(id, a);
  if (strcmp(name, "unmap") == 0) return virgl_renderer_resource_unmap(id) == 0;
  if (strcmp(name, "write") == 0) return write_pages(id, a);
  if (strcmp(name, "upload") == 0) return upload(id);
  if (strcmp(name, "paint") == 0) return paint(id, a);
  if (strcmp(name, "busy") == 0) return be_busy(id, a);
  if (strcmp(name, "detach") == 0) return detach(id);
  if (strcmp(name, "unref") == 0) {
    detach(id);
    virgl_renderer_resource_unref(id);
    return true;
  }
  if (strcmp(name, "reset") == 0) return reset();
  if (strcmp(name, "descriptors") == 0) {
    *answer = open_descriptors();
    return true;
  }
#ifdef WITH_FAULTS
  if (strcmp(name, "fail") == 0) {
    faults_arm(id);
    return true;
  }
  if (strcmp(name, "failures") == 0) {
    *answer = faults_count();
    return true;
  }
#endif
  return false;
}

/* The bottom half: handles all lines that have come, as QEMU empties the control queue. */
static gboolean on_lines(gpointer data) {
  (void)data;
  for (char *end = strchr(input->str, '\n'); end != NULL; end = strchr(input->str, '\n')) {
    *end = '\0';
    long answer = -1;
    bool done = handle(input->str, &answer);
    if (answer >= 0) {
      printf("ok %ld\n", answer);
    } else {
      puts(done ? "ok" : "error");
    }
    g_string_erase(input, 0, end - input->str + 1);
  }
  fflush(stdout);
  return G_SOURCE_REMOVE;
}

static gboolean on_input(gint descriptor, GIOCondition condition, gpointer data) {
  (void)condition;
  (void)data;
  char bytes[4096];
  ssize_t got = read(descriptor, bytes, sizeof bytes);
  if (got <= 0) {
    g_main_loop_quit(loop);
    return G_SOURCE_REMOVE;
  }
  g_string_append_len(input, bytes, got);
  g_idle_add_full(G_PRIORITY_DEFAULT, on_lines, NULL, NULL);
  return G_SOURCE_CONTINUE;
}

static void start_gl(void) {
  display = eglGetPlatformDisplayEXT(EGL_PLATFORM_SURFACELESS_MESA, EGL_DEFAULT_DISPLAY, NULL);
  require(eglInitialize(display, NULL, NULL), "no EGL: install libegl-mesa0");
  eglBindAPI(gles ? EGL_OPENGL_ES_API : EGL_OPENGL_API);
  const EGLint attributes[] = {EGL_SURFACE_TYPE,
                               EGL_PBUFFER_BIT,
                               EGL_RENDERABLE_TYPE,
                               gles ? EGL_OPENGL_ES3_BIT : EGL_OPENGL_BIT,
                               EGL_RED_SIZE,
                               8,
                               EGL_NONE};
  EGLint count = 0;
  require(eglChooseConfig(display, attributes, &config, 1, &count) && count == 1,
          "no EGL configuration: install libgl1-mesa-dri");
  own = create_context(gles ? 3 : 4, gles ? 0 : 2);
  require(own != EGL_NO_CONTEXT, "no GL context: install libgl1-mesa-dri");
}

int main(int argc, char **argv) {
  gles = argc > 1 && strcmp(argv[1], "gles") == 0;
  int file = memfd_create("ram", MFD_CLOEXEC);
  require(file >= 0 && ftruncate(file, MEMORY_BYTES) == 0, "no memory");
  memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  require(memory != MAP_FAILED, "no memory");
  pages_by_id = g_hash_table_new_full(g_direct_hash, g_direct_equal, NULL, free_pages);
  input = g_string_new(NULL);
  start_gl();
  require(virgl_renderer_init(&callbacks, 0, &callbacks) == 0, "virgl_renderer_init failed");
  loop = g_main_loop_new(NULL, FALSE);
  g_unix_fd_add(STDIN_FILENO, G_IO_IN | G_IO_HUP, on_input, NULL);
  puts("ok");
  fflush(stdout);
  g_main_loop_run(loop);
  virgl_renderer_cleanup(&callbacks);
  g_hash_table_unref(pages_by_id);
  g_string_free(input, TRUE);
  g_main_loop_unref(loop);
  return 0;
}
