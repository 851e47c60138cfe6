/* QEMU's display, as far as it can harm what is exported. */
#ifndef VSOCKENC_VIRGL_DISPLAY_H
#define VSOCKENC_VIRGL_DISPLAY_H

/* Logs a warning if QEMU's display holds back the guest's commands. */
void virgl_display_check(void);

#endif
