/*
 * A moving test picture. Frame N depends only on N, size and format, so the host can draw the same
 * frames and compare. It is difficult for encoders and colour conversions: a gradient, saturated
 * patches, text-like detail, moving shapes and a scrolling line; and it has a counter that programs
 * can read after decoding.
 *
 * The counter is 16 blocks for N modulo 65536, most significant bit first, in the row at
 * y = 0, and 16 blocks for its complement in the row below. A block is PATTERN_BLOCK pixels square,
 * white for 1 and black for 0; read it in its middle. Pictures that are too small have none.
 *
 * Drawing is fast after the first frame: the still parts are restored from a copy.
 */
#ifndef TEST_PATTERN_H
#define TEST_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PATTERN_BLOCK 32u
#define PATTERN_BITS 16u
#define PATTERN_MIN_WIDTH (PATTERN_BLOCK * PATTERN_BITS)
#define PATTERN_MIN_HEIGHT (PATTERN_BLOCK * 2)

typedef struct Pattern Pattern;

/* `format`: an order of R, G, B and x or A. NULL: another format, or out of memory. */
Pattern *pattern_new(unsigned width, unsigned height, const char *format);
void pattern_free(Pattern *pattern);

/* What all frames have, under what moves: `width` pixels a row. */
const uint32_t *pattern_still(const Pattern *pattern);

/* Draws frame `number`; `pixels` contain the frame `before`, -1: none. */
void pattern_draw(const Pattern *pattern, uint8_t *pixels, size_t stride, unsigned number,
                  int64_t before);

#endif
