#include "gl-draw.h"

#include <EGL/egl.h>
#include <EGL/eglext.h>
#include <GLES3/gl3.h>
#include <drm_fourcc.h>
#include <gbm.h>
#include <stdio.h>
#include <stdlib.h>

/* Needs gl3.h. */
#include <GLES2/gl2ext.h>

#define MAX_TARGETS 64

#define FUNCTIONS(X)                                           \
  X(PFNGLGENTEXTURESPROC, glGenTextures)                       \
  X(PFNGLBINDTEXTUREPROC, glBindTexture)                       \
  X(PFNGLTEXSTORAGE2DPROC, glTexStorage2D)                     \
  X(PFNGLTEXSUBIMAGE2DPROC, glTexSubImage2D)                   \
  X(PFNGLTEXPARAMETERIPROC, glTexParameteri)                   \
  X(PFNGLGENFRAMEBUFFERSPROC, glGenFramebuffers)               \
  X(PFNGLBINDFRAMEBUFFERPROC, glBindFramebuffer)               \
  X(PFNGLFRAMEBUFFERTEXTURE2DPROC, glFramebufferTexture2D)     \
  X(PFNGLCHECKFRAMEBUFFERSTATUSPROC, glCheckFramebufferStatus) \
  X(PFNGLVIEWPORTPROC, glViewport)                             \
  X(PFNGLCREATEPROGRAMPROC, glCreateProgram)                   \
  X(PFNGLCREATESHADERPROC, glCreateShader)                     \
  X(PFNGLSHADERSOURCEPROC, glShaderSource)                     \
  X(PFNGLCOMPILESHADERPROC, glCompileShader)                   \
  X(PFNGLATTACHSHADERPROC, glAttachShader)                     \
  X(PFNGLLINKPROGRAMPROC, glLinkProgram)                       \
  X(PFNGLGETPROGRAMIVPROC, glGetProgramiv)                     \
  X(PFNGLUSEPROGRAMPROC, glUseProgram)                         \
  X(PFNGLDRAWARRAYSPROC, glDrawArrays)                         \
  X(PFNGLFLUSHPROC, glFlush)                                   \
  X(PFNGLEGLIMAGETARGETTEXTURE2DOESPROC, glEGLImageTargetTexture2DOES)

struct GlDraw {
  unsigned width, height;
  struct gbm_device *gbm;
  EGLDisplay display;
  EGLContext context;
  GLuint picture;
  GLuint framebuffers[MAX_TARGETS];
  int targets;
#define DECLARE(type, name) type name;
  FUNCTIONS(DECLARE)
#undef DECLARE
};

static bool fail(const char *what) {
  fprintf(stderr, "gl-draw: %s: EGL error 0x%x\n", what, (unsigned)eglGetError());
  return false;
}

static bool open_display(GlDraw *draw, int device) {
  const EGLint context[] = {EGL_CONTEXT_MAJOR_VERSION, 3, EGL_NONE};
  draw->gbm = gbm_create_device(device);
  if (!draw->gbm) return fail("no GBM on the device");
  draw->display = eglGetPlatformDisplay(EGL_PLATFORM_GBM_KHR, draw->gbm, NULL);
  if (!eglInitialize(draw->display, NULL, NULL)) return fail("no EGL on the device");
  eglBindAPI(EGL_OPENGL_ES_API);
  draw->context = eglCreateContext(draw->display, EGL_NO_CONFIG_KHR, EGL_NO_CONTEXT, context);
  if (!draw->context) return fail("no context of GLES 3");
  if (!eglMakeCurrent(draw->display, EGL_NO_SURFACE, EGL_NO_SURFACE, draw->context))
    return fail("the context needs a surface");
#define LOAD(type, name) \
  if (!(draw->name = (type)eglGetProcAddress(#name))) return fail("no " #name);
  FUNCTIONS(LOAD)
#undef LOAD
  return true;
}

static void add_shader(GlDraw *draw, GLuint program, GLenum kind, const char *source) {
  GLuint shader = draw->glCreateShader(kind);
  draw->glShaderSource(shader, 1, &source, NULL);
  draw->glCompileShader(shader);
  draw->glAttachShader(program, shader);
}

/* One triangle over everything. The texture has the bytes of BGRx as those of RGBA. */
static bool make_program(GlDraw *draw) {
  GLuint program = draw->glCreateProgram();
  GLint linked = 0;
  add_shader(draw, program, GL_VERTEX_SHADER,
             "#version 300 es\n"
             "void main() { gl_Position = vec4(float(gl_VertexID & 1) * 4.0 - 1.0,"
             " float(gl_VertexID >> 1) * 4.0 - 1.0, 0, 1); }");
  add_shader(draw, program, GL_FRAGMENT_SHADER,
             "#version 300 es\n"
             "precision highp float; uniform highp sampler2D picture; out vec4 colour;"
             "void main() { colour = texelFetch(picture, ivec2(gl_FragCoord.xy), 0).bgra; }");
  draw->glLinkProgram(program);
  draw->glGetProgramiv(program, GL_LINK_STATUS, &linked);
  draw->glUseProgram(program);
  return linked || fail("the shaders do not link");
}

GlDraw *gl_draw_new(int device, unsigned width, unsigned height) {
  GlDraw *draw = calloc(1, sizeof *draw);
  if (!draw) return NULL;
  draw->width = width;
  draw->height = height;
  if (!open_display(draw, device) || !make_program(draw)) return NULL;
  draw->glGenTextures(1, &draw->picture);
  draw->glBindTexture(GL_TEXTURE_2D, draw->picture);
  draw->glTexStorage2D(GL_TEXTURE_2D, 1, GL_RGBA8, (GLsizei)width, (GLsizei)height);
  draw->glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_MIN_FILTER, GL_NEAREST);
  draw->glViewport(0, 0, (GLsizei)width, (GLsizei)height);
  return draw;
}

bool gl_draw_create(GlDraw *draw, int *dmabuf, unsigned *stride) {
  struct gbm_bo *bo = gbm_bo_create(draw->gbm, draw->width, draw->height, GBM_FORMAT_XRGB8888,
                                    GBM_BO_USE_RENDERING | GBM_BO_USE_LINEAR);
  if (!bo) return fail("no buffer of GBM");
  *stride = gbm_bo_get_stride(bo);
  *dmabuf = gbm_bo_get_fd(bo);
  return *dmabuf >= 0 || fail("a buffer of GBM is no dma-buf");
}

int gl_draw_add_target(GlDraw *draw, int dmabuf, unsigned stride) {
  const EGLAttrib image[] = {EGL_WIDTH,
                             draw->width,
                             EGL_HEIGHT,
                             draw->height,
                             EGL_LINUX_DRM_FOURCC_EXT,
                             DRM_FORMAT_XRGB8888,
                             EGL_DMA_BUF_PLANE0_FD_EXT,
                             dmabuf,
                             EGL_DMA_BUF_PLANE0_OFFSET_EXT,
                             0,
                             EGL_DMA_BUF_PLANE0_PITCH_EXT,
                             stride,
                             EGL_NONE};
  EGLImage imported =
      eglCreateImage(draw->display, EGL_NO_CONTEXT, EGL_LINUX_DMA_BUF_EXT, NULL, image);
  GLuint texture;
  if (!imported || draw->targets == MAX_TARGETS) {
    fail("GL cannot draw into the dma-buf");
    return -1;
  }
  draw->glGenTextures(1, &texture);
  draw->glBindTexture(GL_TEXTURE_2D, texture);
  draw->glEGLImageTargetTexture2DOES(GL_TEXTURE_2D, imported);
  draw->glGenFramebuffers(1, &draw->framebuffers[draw->targets]);
  draw->glBindFramebuffer(GL_FRAMEBUFFER, draw->framebuffers[draw->targets]);
  draw->glFramebufferTexture2D(GL_FRAMEBUFFER, GL_COLOR_ATTACHMENT0, GL_TEXTURE_2D, texture, 0);
  if (draw->glCheckFramebufferStatus(GL_FRAMEBUFFER) != GL_FRAMEBUFFER_COMPLETE) {
    fail("the dma-buf is no framebuffer");
    return -1;
  }
  return draw->targets++;
}

void gl_draw_picture(GlDraw *draw, int target, const void *pixels) {
  eglMakeCurrent(draw->display, EGL_NO_SURFACE, EGL_NO_SURFACE, draw->context);
  draw->glBindTexture(GL_TEXTURE_2D, draw->picture);
  draw->glTexSubImage2D(GL_TEXTURE_2D, 0, 0, 0, (GLsizei)draw->width, (GLsizei)draw->height,
                        GL_RGBA, GL_UNSIGNED_BYTE, pixels);
  draw->glBindFramebuffer(GL_FRAMEBUFFER, draw->framebuffers[target]);
  draw->glDrawArrays(GL_TRIANGLES, 0, 3);
  draw->glFlush();
}
