/*
 * A moving test picture whose frame N depends on N, size and format alone, so that the host can
 * make the same frames and compare. It has what encoders and colour conversions get wrong: a
 * gradient, flat saturated patches, fine detail like text, moving shapes and a scrolling line; and
 * a counter that programs can read back after decoding.
 *
 * The counter is 16 blocks for N modulo 65536, most significant bit first, in the row at
 * y = 0, and 16 blocks for its complement in the row below. A block is PATTERN_BLOCK pixels square,
 * white for 1 and black for 0; its middle is the place to look. Pictures too small for it have
 * none.
 *
 * Drawing is cheap after the first time: what does not move is restored from a copy.
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

/* `format` is one of the eight orders of R, G, B and x or A. NULL: another, or no memory. */
Pattern *pattern_new(unsigned width, unsigned height, const char *format);
void pattern_free(Pattern *pattern);

/*
 * Draws frame `number`. `before` is the number of the frame that `pixels` holds already, or -1
 * when it holds none.
 */
void pattern_draw(const Pattern *pattern, uint8_t *pixels, size_t stride, unsigned number,
                  int64_t before);

#endif
