#include "gl-pattern.h"

#include <epoxy/egl.h>
#include <epoxy/gl.h>
#include <gbm.h>
#include <stdio.h>
#include <stdlib.h>

#include "pattern.h"

struct GlPattern {
  unsigned width, height;
  struct gbm_device *gbm;
  EGLDisplay display;
  GLint last, passes, plane;
};

#define TEXT_OF(token) #token
#define TEXT(macro) TEXT_OF(macro)

/* Both shaders are pattern.c, function by function. What is still is a texture. The vertices cover
 * everything. */
static const char VERTEX[] =
    "#version 300 es\n"
    "precision highp int;\n"
    "const uint SPEED_X[3] = uint[3](5u, 3u, 11u), SPEED_Y[3] = uint[3](0u, 2u, 7u);\n"
    "uniform highp sampler2D still;\n"
    "uniform uint last, passes;\n"
    "flat out uint number;\n"
    "flat out uvec2 corners[3];\n"
    "flat out uint sides[3];\n"
    "uint swing(uint at, uint range) {\n"
    "  if (range == 0u) return 0u;\n"
    "  uint phase = at % (2u * range);\n"
    "  return phase < range ? phase : 2u * range - phase;\n"
    "}\n"
    "void main() {\n"
    "  uvec2 size = uvec2(textureSize(still, 0));\n"
    "  number = last + passes - 1u - uint(gl_InstanceID);\n"
    "  for (uint i = 0u; i < 3u; i++) {\n"
    "    uint side = min(size.y / (6u + 2u * i), size.x), top = size.y / 4u;\n"
    "    corners[i] = uvec2(swing(number * SPEED_X[i] + 40u * i, size.x - side),\n"
    "        top + swing(number * SPEED_Y[i] + 60u * i, size.y - top - side));\n"
    "    sides[i] = side;\n"
    "  }\n"
    "  gl_Position = vec4(gl_VertexID == 1 ? 3 : -1, gl_VertexID == 2 ? 3 : -1, 0, 1);\n"
    "}\n";

static const char FRAGMENT[] =
    "#version 300 es\n"
    "precision highp float;\n"
    "precision highp int;\n"
    "const uint BLOCK = " TEXT(PATTERN_BLOCK) ", BITS = " TEXT(PATTERN_BITS) ";\n"
    "const vec3 COLOURS[3] = vec3[3](vec3(255, 128, 0), vec3(0, 96, 255), vec3(16, 200, 64));\n"
    "uniform highp sampler2D still;\n"
    "uniform int plane;\n"
    "flat in uint number;\n"
    "flat in uvec2 corners[3];\n"
    "flat in uint sides[3];\n"
    "out vec4 colour;\n"
    "uint mixed(uint value) {\n"
    "  value ^= value >> 16;\n"
    "  value *= 0x7feb352du;\n"
    "  value ^= value >> 15;\n"
    "  value *= 0x846ca68bu;\n"
    "  return value ^ value >> 16;\n"
    "}\n"
    "bool is_ink(uint x, uint y) {\n"
    "  uint column = x % 6u, row = y % 12u;\n"
    "  uint letter = mixed(x / 6u + 977u * (y / 12u));\n"
    "  if (column >= 5u || row >= 7u || letter >> 28 < 3u) return false;\n"
    "  return (column == (letter & 1u) && (letter & 2u) != 0u) ||\n"
    "         (column == 3u + (letter >> 2 & 1u) && (letter & 8u) != 0u) ||\n"
    "         (row == (letter >> 4 & 1u) && (letter & 32u) != 0u) ||\n"
    "         (row == 3u + (letter >> 6 & 3u) && (letter & 256u) != 0u);\n"
    "}\n"
    "vec3 picture(uvec2 at) {\n"
    "  uvec2 size = uvec2(textureSize(still, 0));\n"
    "  uint ticker = size.y >= 128u ? 24u : 12u;\n"
    "  if (all(lessThan(at, uvec2(BLOCK * BITS, BLOCK * 2u))) &&\n"
    "      all(greaterThanEqual(size, uvec2(BLOCK * BITS, BLOCK * 2u)))) {\n"
    "    bool is_set = (number >> (BITS - 1u - at.x / BLOCK) & 1u) != 0u;\n"
    "    return vec3(is_set == at.y < BLOCK);\n"
    "  }\n"
    "  if (at.y >= size.y - ticker) {\n"
    "    bool ink = is_ink(at.x + 4u * number, (at.y - (size.y - ticker)) / 2u + 240u);\n"
    "    return ink ? vec3(1) : vec3(0, 40, 80) / 255.0;\n"
    "  }\n"
    "  for (int i = 2; i >= 0; i--)\n"
    "    if (all(greaterThanEqual(at, corners[i])) && all(lessThan(at, corners[i] + sides[i])))\n"
    "      return COLOURS[i] / 255.0;\n"
    "  return texelFetch(still, ivec2(at), 0).rgb;\n"
    "}\n"
    "void main() {\n"
    "  uvec2 at = uvec2(gl_FragCoord.xy);\n"
    "  if (plane == 0) {\n"
    "    colour = vec4(picture(at), 1);\n"
    "    return;\n"
    "  }\n"
    "  if (plane == 1) {\n" /* BT.709, limited range */
    "    colour = vec4((16.0 + 219.0 * dot(picture(at), vec3(0.2126, 0.7152, 0.0722))) / 255.0);\n"
    "    return;\n"
    "  }\n"
    "  vec3 sum = vec3(0);\n"
    "  for (uint i = 0u; i < 4u; i++) sum += picture(2u * at + uvec2(i % 2u, i / 2u)) / 4.0;\n"
    "  float luma = dot(sum, vec3(0.2126, 0.7152, 0.0722));\n"
    "  vec2 chroma = vec2((sum.b - luma) / 1.8556, (sum.r - luma) / 1.5748);\n"
    "  colour = vec4((128.0 + 224.0 * chroma) / 255.0, 0, 0);\n"
    "}\n";

static bool fail(const char *what, const char *why) {
  fprintf(stderr, "gl-pattern: %s failed: %s\n", what, why);
  return false;
}

static bool fail_egl(const char *what) {
  char code[16];
  snprintf(code, sizeof code, "0x%x", (unsigned)eglGetError());
  return fail(what, code);
}

static bool start_gl(GlPattern *gl, int render_node) {
  const EGLint attributes[] = {EGL_CONTEXT_MAJOR_VERSION, 3, EGL_NONE};
  gl->gbm = gbm_create_device(render_node);
  if (!gl->gbm) return fail("gbm_create_device", "is this a GPU that renders?");
  gl->display = eglGetPlatformDisplayEXT(EGL_PLATFORM_GBM_KHR, gl->gbm, NULL);
  if (!eglInitialize(gl->display, NULL, NULL)) return fail_egl("eglInitialize");
  if (!eglBindAPI(EGL_OPENGL_ES_API)) return fail_egl("eglBindAPI");
  EGLContext context = eglCreateContext(gl->display, EGL_NO_CONFIG_KHR, EGL_NO_CONTEXT, attributes);
  if (!eglMakeCurrent(gl->display, EGL_NO_SURFACE, EGL_NO_SURFACE, context))
    return fail_egl("eglMakeCurrent");
  fprintf(stderr, "gl-pattern: %s\n", (const char *)glGetString(GL_RENDERER));
  return true;
}

static bool add_shader(GLuint program, GLenum kind, const char *text) {
  GLuint shader = glCreateShader(kind);
  GLint compiled;
  glShaderSource(shader, 1, &text, NULL);
  glCompileShader(shader);
  glGetShaderiv(shader, GL_COMPILE_STATUS, &compiled);
  if (!compiled) {
    char log[1024];
    glGetShaderInfoLog(shader, sizeof log, NULL, log);
    return fail("glCompileShader", log);
  }
  glAttachShader(program, shader);
  return true;
}

static bool start_program(GlPattern *gl) {
  GLuint program = glCreateProgram(), vertices;
  GLint linked;
  if (!add_shader(program, GL_VERTEX_SHADER, VERTEX) ||
      !add_shader(program, GL_FRAGMENT_SHADER, FRAGMENT))
    return false;
  glLinkProgram(program);
  glGetProgramiv(program, GL_LINK_STATUS, &linked);
  if (!linked) return fail("glLinkProgram", "");
  glUseProgram(program);
  gl->last = glGetUniformLocation(program, "last");
  gl->passes = glGetUniformLocation(program, "passes");
  gl->plane = glGetUniformLocation(program, "plane");
  glGenVertexArrays(1, &vertices);
  glBindVertexArray(vertices);
  return true;
}

static bool load_still(const GlPattern *gl) {
  Pattern *pattern = pattern_new(gl->width, gl->height, "RGBA");
  GLuint texture;
  if (!pattern) return fail("pattern_new", "out of memory");
  glGenTextures(1, &texture);
  glBindTexture(GL_TEXTURE_2D, texture);
  glTexImage2D(GL_TEXTURE_2D, 0, GL_RGBA8, (GLsizei)gl->width, (GLsizei)gl->height, 0, GL_RGBA,
               GL_UNSIGNED_BYTE, pattern_still(pattern));
  glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_MIN_FILTER, GL_NEAREST);
  pattern_free(pattern);
  return true;
}

GlPattern *gl_pattern_new(int render_node, unsigned width, unsigned height) {
  GlPattern *gl = calloc(1, sizeof *gl);
  if (!gl) return NULL;
  gl->width = width;
  gl->height = height;
  if (start_gl(gl, render_node) && start_program(gl) && load_still(gl)) return gl;
  free(gl);
  return NULL;
}

int gl_pattern_create(const GlPattern *gl, uint32_t fourcc, unsigned width, unsigned height,
                      unsigned *stride) {
  struct gbm_bo *bo = gbm_bo_create(gl->gbm, width, height, fourcc, GBM_BO_USE_RENDERING);
  int dmabuf = bo ? gbm_bo_get_fd(bo) : -1;
  if (dmabuf < 0) fail("gbm_bo_create", "the GPU cannot render this format");
  if (bo) *stride = gbm_bo_get_stride(bo);
  return dmabuf; /* the bo ends with the process */
}

unsigned gl_pattern_import(const GlPattern *gl, int dmabuf, uint32_t fourcc, unsigned width,
                           unsigned height, unsigned stride) {
  const EGLint attributes[] = {EGL_WIDTH,
                               (EGLint)width,
                               EGL_HEIGHT,
                               (EGLint)height,
                               EGL_LINUX_DRM_FOURCC_EXT,
                               (EGLint)fourcc,
                               EGL_DMA_BUF_PLANE0_FD_EXT,
                               dmabuf,
                               EGL_DMA_BUF_PLANE0_OFFSET_EXT,
                               0,
                               EGL_DMA_BUF_PLANE0_PITCH_EXT,
                               (EGLint)stride,
                               EGL_NONE};
  EGLImageKHR image =
      eglCreateImageKHR(gl->display, EGL_NO_CONTEXT, EGL_LINUX_DMA_BUF_EXT, NULL, attributes);
  if (image == EGL_NO_IMAGE_KHR) return fail_egl("eglCreateImageKHR");
  GLuint renderbuffer, framebuffer;
  glGenRenderbuffers(1, &renderbuffer);
  glBindRenderbuffer(GL_RENDERBUFFER, renderbuffer);
  glEGLImageTargetRenderbufferStorageOES(GL_RENDERBUFFER, image);
  glGenFramebuffers(1, &framebuffer);
  glBindFramebuffer(GL_FRAMEBUFFER, framebuffer);
  glFramebufferRenderbuffer(GL_FRAMEBUFFER, GL_COLOR_ATTACHMENT0, GL_RENDERBUFFER, renderbuffer);
  if (glCheckFramebufferStatus(GL_FRAMEBUFFER) == GL_FRAMEBUFFER_COMPLETE) return framebuffer;
  return fail("glCheckFramebufferStatus", "the GPU cannot render into this dma-buf");
}

void gl_pattern_draw(const GlPattern *gl, unsigned framebuffer, GlPatternPlane plane,
                     unsigned number, unsigned passes) {
  unsigned scale = plane == GL_PATTERN_CHROMA ? 2 : 1;
  glBindFramebuffer(GL_FRAMEBUFFER, framebuffer);
  glViewport(0, 0, (GLsizei)(gl->width / scale), (GLsizei)(gl->height / scale));
  glUniform1i(gl->plane, (GLint)plane);
  /* Blending that changes nothing: without it, a GPU may leave out what is drawn over. */
  if (passes > 1) glEnable(GL_BLEND);
  glUniform1ui(gl->last, number);
  glUniform1ui(gl->passes, passes);
  glDrawArraysInstanced(GL_TRIANGLES, 0, 3, (GLsizei)passes);
  glFlush();
}

void gl_pattern_read(const GlPattern *gl, unsigned framebuffer, uint8_t *pixels) {
  glBindFramebuffer(GL_FRAMEBUFFER, framebuffer);
  glReadPixels(0, 0, (GLsizei)gl->width, (GLsizei)gl->height, GL_BGRA_EXT, GL_UNSIGNED_BYTE,
               pixels);
}
