/*
 * The pattern (pattern.h), drawn by OpenGL ES into dma-bufs of a virtio-gpu that renders. The
 * pixels are those that the CPU would draw, plus or minus rounding where they become YUV.
 */
#ifndef TEST_GL_PATTERN_H
#define TEST_GL_PATTERN_H

#include <stdbool.h>
#include <stdint.h>

typedef struct GlPattern GlPattern;

typedef enum { GL_PATTERN_RGB, GL_PATTERN_LUMA, GL_PATTERN_CHROMA } GlPatternPlane;

/* For pictures of this size, in the calling thread from now on. `render_node` stays open. NULL:
 * failed, printed. */
GlPattern *gl_pattern_new(int render_node, unsigned width, unsigned height);

/* Makes a dma-buf to render into. `fourcc`: DRM_FORMAT_*. -1: failed, printed. */
int gl_pattern_create(const GlPattern *gl, uint32_t fourcc, unsigned width, unsigned height,
                      unsigned *stride);

/* A framebuffer whose pixels are the dma-buf's. 0: failed, printed. */
unsigned gl_pattern_import(const GlPattern *gl, int dmabuf, uint32_t fourcc, unsigned width,
                           unsigned height, unsigned stride);

/* Draws frame `number` `passes` times, before the last time with other numbers, and flushes. */
void gl_pattern_draw(const GlPattern *gl, unsigned framebuffer, GlPatternPlane plane,
                     unsigned number, unsigned passes);

/* Waits for what was drawn into an RGB framebuffer, and copies it to memory as BGRA. */
void gl_pattern_read(const GlPattern *gl, unsigned framebuffer, uint8_t *pixels);

#endif
