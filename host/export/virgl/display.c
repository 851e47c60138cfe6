/*
 * Theory of operation: a read comes after every command that QEMU has processed. A display that
 * hands textures to another process (SPICE with gl=on, dbus) makes QEMU keep commands back until
 * that process has drawn (graphic_hw_gl_block), and nothing in virglrenderer's API shows it. So a
 * frame that is announced meanwhile may be read before its last draws. QEMU's command line says
 * which display it has.
 */
#include "display.h"

#include <glib.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

static bool holds_back(const char *option, const char *value) {
  option += strspn(option, "-");
  if (strcmp(option, "display") == 0) {
    return g_str_has_prefix(value, "dbus") || g_str_has_prefix(value, "spice-app");
  }
  return strcmp(option, "spice") == 0 && strstr(value, "gl=on") != NULL;
}

void virgl_display_check(void) {
  FILE *arguments = fopen("/proc/self/cmdline", "re");
  if (arguments == NULL) {
    return;
  }
  char *option = NULL, *value = NULL;
  size_t option_room = 0, value_room = 0;
  while (getdelim(&value, &value_room, '\0', arguments) > 0) {
    if (option != NULL && holds_back(option, value)) {
      virgl_log(
          "QEMU's display (%s %s) holds back the guest's commands, so a frame may be "
          "encoded before its last draws: use -display egl-headless or sdl,gl=on",
          option, value);
      break;
    }
    char *read_before = option;
    size_t room_before = option_room;
    option = value;
    option_room = value_room;
    value = read_before;
    value_room = room_before;
  }
  free(option);
  free(value);
  fclose(arguments);
}
