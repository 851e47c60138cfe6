/*
 * Draws pictures into dma-bufs with the GPU: each is uploaded as a texture, and a triangle with it
 * is drawn into the dma-buf. Nothing waits for the GPU: gl_draw_picture() ends with glFlush().
 *
 * EGL on the device's own GBM, without a window. GL's functions come from EGL, as guests have no
 * libGLESv2.
 */
#ifndef TEST_GL_DRAW_H
#define TEST_GL_DRAW_H

#include <stdbool.h>
#include <stdint.h>

typedef struct GlDraw GlDraw;

/* For pictures of 32-bit pixels of this size. NULL: no GL, printed. `device` stays open. */
GlDraw *gl_draw_new(int device, unsigned width, unsigned height);

/* A buffer of GBM as a dma-buf. False: printed. */
bool gl_draw_create(GlDraw *draw, int *dmabuf, unsigned *stride);

/* The number of a dma-buf (XRGB8888) as a target, from 0 on. -1: it cannot be one, printed. */
int gl_draw_add_target(GlDraw *draw, int dmabuf, unsigned stride);

/* Draws the picture, B8G8R8X8 without padding, into a target. On one thread. */
void gl_draw_picture(GlDraw *draw, int target, const void *pixels);

#endif
