#include "pattern.h"

#include <stdlib.h>
#include <string.h>

#define GLYPH_WIDTH 6u
#define GLYPH_HEIGHT 12u
#define SHAPES 3u

struct Pattern {
  unsigned width, height;
  unsigned red, green, blue, rest; /* shifts in a little-endian pixel */
  uint32_t *still;                 /* the still parts */
};

typedef struct {
  unsigned x, y, width, height;
} Box;

static uint32_t pixel(const Pattern *pattern, unsigned red, unsigned green, unsigned blue) {
  return 0xffu << pattern->rest | (red & 0xffu) << pattern->red |
         (green & 0xffu) << pattern->green | (blue & 0xffu) << pattern->blue;
}

static uint32_t mix(uint32_t value) {
  value ^= value >> 16;
  value *= 0x7feb352du;
  value ^= value >> 15;
  value *= 0x846ca68bu;
  return value ^ value >> 16;
}

/* Strokes one pixel wide in cells of the size of letters, with gaps between words and lines. */
static bool is_ink(unsigned x, unsigned y) {
  unsigned column = x % GLYPH_WIDTH, row = y % GLYPH_HEIGHT;
  if (column >= 5 || row >= 7) return false;
  uint32_t letter = mix(x / GLYPH_WIDTH + 977u * (y / GLYPH_HEIGHT));
  if (letter >> 28 < 3) return false;
  /* Two upright and two level strokes, each there or not. */
  return (column == (letter & 1) && letter & 2) ||
         (column == 3 + (letter >> 2 & 1) && letter & 8) ||
         (row == (letter >> 4 & 1) && letter & 32) ||
         (row == 3 + (letter >> 6 & 3) && letter & 256);
}

static uint32_t still_pixel(const Pattern *pattern, unsigned x, unsigned y) {
  static const uint8_t patches[8][3] = {{255, 0, 0},     {0, 255, 0},    {0, 0, 255},
                                        {255, 255, 0},   {0, 255, 255},  {255, 0, 255},
                                        {128, 128, 128}, {250, 240, 230}};
  unsigned band = y * 8 / pattern->height;
  if (band == 3) {
    const uint8_t *patch = patches[x * 8 / pattern->width];
    return pixel(pattern, patch[0], patch[1], patch[2]);
  }
  if (band == 5) {
    bool ink = is_ink(x, y);
    return ink ? pixel(pattern, 20, 20, 60) : pixel(pattern, 240, 240, 232);
  }
  return pixel(pattern, x * 255 / pattern->width, y * 255 / pattern->height,
               255 - (x + y) * 255 / (pattern->width + pattern->height));
}

/* The shift of the byte `letter` of `format`; 32: none. */
static unsigned shift_of(const char *format, char letter) {
  const char *at = strchr(format, letter);
  return at ? 8 * (unsigned)(at - format) : 32;
}

Pattern *pattern_new(unsigned width, unsigned height, const char *format) {
  unsigned red = shift_of(format, 'R'), green = shift_of(format, 'G'), blue = shift_of(format, 'B');
  unsigned rest = shift_of(format, 'x');
  if (rest == 32) rest = shift_of(format, 'A');
  /* Valid if each of the four bytes has a name. */
  if (strlen(format) != 4 || red + green + blue + rest != 0 + 8 + 16 + 24) return NULL;
  Pattern *pattern = calloc(1, sizeof *pattern);
  uint32_t *still = malloc((size_t)width * height * sizeof *still);
  if (!pattern || !still) {
    free(pattern);
    free(still);
    return NULL;
  }
  *pattern = (Pattern){.width = width,
                       .height = height,
                       .red = red,
                       .green = green,
                       .blue = blue,
                       .rest = rest,
                       .still = still};
  for (unsigned y = 0; y < height; y++)
    for (unsigned x = 0; x < width; x++) still[(size_t)y * width + x] = still_pixel(pattern, x, y);
  return pattern;
}

void pattern_free(Pattern *pattern) {
  if (!pattern) return;
  free(pattern->still);
  free(pattern);
}

const uint32_t *pattern_still(const Pattern *pattern) {
  return pattern->still;
}

/* Oscillates between 0 and `range`. */
static unsigned swing(unsigned at, unsigned range) {
  if (range == 0) return 0;
  unsigned phase = at % (2 * range);
  return phase < range ? phase : 2 * range - phase;
}

static Box shape(const Pattern *pattern, unsigned index, unsigned number) {
  static const unsigned speed_x[SHAPES] = {5, 3, 11}, speed_y[SHAPES] = {0, 2, 7};
  unsigned size = pattern->height / (6 + 2 * index);
  if (size > pattern->width) size = pattern->width;
  unsigned top = pattern->height / 4;
  return (Box){.x = swing(number * speed_x[index] + 40 * index, pattern->width - size),
               .y = top + swing(number * speed_y[index] + 60 * index, pattern->height - top - size),
               .width = size,
               .height = size};
}

static Box ticker(const Pattern *pattern) {
  unsigned height = pattern->height >= 128 ? 2 * GLYPH_HEIGHT : GLYPH_HEIGHT;
  return (Box){.x = 0, .y = pattern->height - height, .width = pattern->width, .height = height};
}

static uint32_t *row_of(uint8_t *pixels, size_t stride, unsigned y) {
  return (uint32_t *)(void *)(pixels + (size_t)y * stride);
}

static void restore(const Pattern *pattern, uint8_t *pixels, size_t stride, Box box) {
  for (unsigned y = box.y; y < box.y + box.height; y++)
    memcpy(row_of(pixels, stride, y) + box.x, pattern->still + (size_t)y * pattern->width + box.x,
           box.width * sizeof(uint32_t));
}

static void fill(uint8_t *pixels, size_t stride, Box box, uint32_t value) {
  for (unsigned y = box.y; y < box.y + box.height; y++) {
    uint32_t *row = row_of(pixels, stride, y);
    for (unsigned x = box.x; x < box.x + box.width; x++) row[x] = value;
  }
}

static void draw_ticker(const Pattern *pattern, uint8_t *pixels, size_t stride, unsigned number) {
  Box box = ticker(pattern);
  uint32_t ink = pixel(pattern, 255, 255, 255), paper = pixel(pattern, 0, 40, 80);
  for (unsigned y = 0; y < box.height; y++) {
    uint32_t *row = row_of(pixels, stride, box.y + y);
    for (unsigned x = 0; x < box.width; x++)
      row[x] = is_ink(x + 4 * number, y / 2 + 20 * GLYPH_HEIGHT) ? ink : paper;
  }
}

static void draw_counter(const Pattern *pattern, uint8_t *pixels, size_t stride, unsigned number) {
  if (pattern->width < PATTERN_MIN_WIDTH || pattern->height < PATTERN_MIN_HEIGHT) return;
  uint32_t white = pixel(pattern, 255, 255, 255), black = pixel(pattern, 0, 0, 0);
  for (unsigned bit = 0; bit < PATTERN_BITS; bit++) {
    bool set = number >> (PATTERN_BITS - 1 - bit) & 1;
    Box box = {.x = bit * PATTERN_BLOCK, .y = 0, .width = PATTERN_BLOCK, .height = PATTERN_BLOCK};
    fill(pixels, stride, box, set ? white : black);
    box.y = PATTERN_BLOCK;
    fill(pixels, stride, box, set ? black : white);
  }
}

void pattern_draw(const Pattern *pattern, uint8_t *pixels, size_t stride, unsigned number,
                  int64_t before) {
  const uint32_t colours[SHAPES] = {pixel(pattern, 255, 128, 0), pixel(pattern, 0, 96, 255),
                                    pixel(pattern, 16, 200, 64)};
  if (before < 0) {
    restore(pattern, pixels, stride, (Box){0, 0, pattern->width, pattern->height});
  } else {
    for (unsigned i = 0; i < SHAPES; i++)
      restore(pattern, pixels, stride, shape(pattern, i, (unsigned)before));
  }
  for (unsigned i = 0; i < SHAPES; i++) fill(pixels, stride, shape(pattern, i, number), colours[i]);
  draw_ticker(pattern, pixels, stride, number);
  draw_counter(pattern, pixels, stride, number);
}
