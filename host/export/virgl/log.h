/* Lines on QEMU's standard error, few and bounded: neither a guest nor a client can fill a log. */
#ifndef VSOCKENC_VIRGL_LOG_H
#define VSOCKENC_VIRGL_LOG_H

void virgl_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
