/*
 * Writes the frames of pattern.h to standard output, without padding: the reference for PSNR.
 *
 *     pattern --frames 300 --width 1280 --height 720 --format BGRx > reference.raw
 */
#include <glib.h>
#include <stdio.h>

#include "pattern.h"

int main(int argc, char **argv) {
  gint frames = 300, width = 1280, height = 720;
  gchar *format = "BGRx";
  const GOptionEntry options[] = {
      {"frames", 0, 0, G_OPTION_ARG_INT, &frames, "how many (300)", "N"},
      {"width", 0, 0, G_OPTION_ARG_INT, &width, "pixels (1280)", "N"},
      {"height", 0, 0, G_OPTION_ARG_INT, &height, "pixels (720)", "N"},
      {"format", 0, 0, G_OPTION_ARG_STRING, &format, "BGRx, or another order of R, G, B and x or A",
       "NAME"},
      G_OPTION_ENTRY_NULL};
  g_autoptr(GOptionContext) context = g_option_context_new("> frames.raw");
  g_autoptr(GError) error = NULL;

  g_option_context_add_main_entries(context, options, NULL);
  if (!g_option_context_parse(context, &argc, &argv, &error)) {
    fprintf(stderr, "pattern: %s\n", error->message);
    return 2;
  }
  gboolean fits = width >= 16 && height >= 16 && width <= 16384 && height <= 16384 && frames >= 0;
  Pattern *pattern = fits ? pattern_new((unsigned)width, (unsigned)height, format) : NULL;
  if (!pattern) {
    fprintf(stderr,
            "pattern: invalid size %dx%d, format %s or count %d: expected 16 to 16384 pixels, an "
            "order of R, G, B and x or A, and no negative count\n",
            width, height, format, frames);
    return 2;
  }
  gsize stride = (gsize)width * 4, size = stride * (gsize)height;
  g_autofree guint8 *pixels = g_malloc(size);
  for (gint i = 0; i < frames; i++) {
    pattern_draw(pattern, pixels, stride, (unsigned)i, i - 1);
    if (fwrite(pixels, 1, size, stdout) != size) {
      perror("pattern");
      return 1;
    }
  }
  pattern_free(pattern);
  return fflush(stdout) == 0 ? 0 : 1;
}
