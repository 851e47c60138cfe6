#include "log.h"

#include <glib.h>
#include <stdarg.h>
#include <stdio.h>

/* More lines a minute do not help to understand a fault. */
enum { LINES_A_MINUTE = 20 };

void virgl_log(const char *format, ...) {
  static gint64 minute = -1;
  static int lines;
  gint64 now = g_get_monotonic_time() / (60 * G_USEC_PER_SEC);
  if (now != minute) {
    minute = now;
    lines = 0;
  }
  if (++lines > LINES_A_MINUTE) {
    return;
  }
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  fprintf(stderr, "vsockenc-virgl: %s\n", text);
}
