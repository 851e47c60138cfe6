/*
 * Measures round trips over a port, without GStreamer: writes prepared messages one after the other
 * and waits after each for the answer that the script names. It checks no sequence and no credit,
 * so its own work takes almost no time.
 *
 *     port-ping DEVICE SCRIPT
 *
 * SCRIPT is a list of records: u32 length, u32 type of the message to wait for (0: none), both
 * little-endian, and the bytes to write. Output: for every answer waited for, its type and the
 * microseconds from the write to the last byte.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "wire.h"

static VencParser parser;

static double now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static bool write_all(int fd, const uint8_t *bytes, size_t size) {
  while (size > 0) {
    ssize_t written = write(fd, bytes, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes += written;
    size -= (size_t)written;
  }
  return true;
}

/* Consumes the parsed messages; TRUE: one has this type. Exits on Error. */
static bool take(uint32_t type) {
  VencMessage message;
  bool found = false;
  VencWireResult result;
  while ((result = venc_parser_next(&parser, &message)) != VENC_WIRE_INCOMPLETE) {
    if (result != VENC_WIRE_MESSAGE) continue;
    if (message.header.type == vsockenc_MessageType_ERROR) {
      fprintf(stderr, "port-ping: error from the relay: %s\n", message.u.error.text);
      exit(1);
    }
    found = found || message.header.type == type;
  }
  return found;
}

/* Reads until a message of this type arrives; returns the time of its last byte, or -1. */
static double await(int fd, uint32_t type) {
  for (;;) {
    size_t room;
    uint8_t *space = venc_parser_space(&parser, &room);
    ssize_t count = read(fd, space, room);
    double now = now_us();
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return -1;
    venc_parser_commit(&parser, (size_t)count);
    if (take(type)) return now;
  }
}

static uint32_t little_endian(const uint8_t *at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static int run(int fd, FILE *script) {
  uint8_t head[8], bytes[VSOCKENC_MAX_MESSAGE_BYTES];
  while (fread(head, sizeof head, 1, script) == 1) {
    uint32_t length = little_endian(head), type = little_endian(head + 4);
    if (length > sizeof bytes || fread(bytes, 1, length, script) != length) {
      fprintf(stderr, "port-ping: invalid script\n");
      return 1;
    }
    double begin = now_us(), end = 0;
    if (!write_all(fd, bytes, length) || (type != 0 && (end = await(fd, type)) < 0)) {
      perror("port-ping");
      return 1;
    }
    if (type != 0) printf("%u %.1f\n", (unsigned)type, end - begin);
  }
  return 0;
}

int main(int argc, char **argv) {
  int fd = argc == 3 ? open(argv[1], O_RDWR | O_CLOEXEC) : -1;
  FILE *script = argc == 3 ? fopen(argv[2], "rb") : NULL;
  if (fd < 0 || !script) {
    if (argc == 3) perror(fd < 0 ? argv[1] : argv[2]);
    fprintf(stderr, "usage: port-ping DEVICE SCRIPT\n");
    return 2;
  }
  venc_parser_reset(&parser);
  return run(fd, script);
}
