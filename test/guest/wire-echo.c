/*
 * Parses hexadecimal lines with the element's parser, and prints one line for each message: its
 * name, the message encoded again, and its fields by number.
 *
 *     wire-echo [CHUNK]     at most CHUNK bytes at a time; default: a line at a time
 *
 * Output: `NAME EPOCH SEQUENCE HEX FIELDS`, `malformed TYPE`, `unknown TYPE`, `older VERSION`; last
 * `skipped N, hashed N`, in bytes.
 */
#include <pb_common.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "wire.h"

/* Bytes that zlib was given: all, and those for the parser. */
static unsigned long long all_hashed, hashed;

/* The linker has zlib called through this (CMakeLists.txt). */
uLong __real_crc32(uLong crc, const Bytef *bytes, uInt size);
uLong __wrap_crc32(uLong crc, const Bytef *bytes, uInt size);

uLong __wrap_crc32(uLong crc, const Bytef *bytes, uInt size) {
  all_hashed += size;
  return __real_crc32(crc, bytes, size);
}

static void print_hex(const uint8_t *bytes, size_t size) {
  for (size_t i = 0; i < size; i++) printf("%02x", bytes[i]);
}

static uint64_t integer(const void *at, size_t size) {
  uint64_t value = 0;
  memcpy(&value, at, size < sizeof value ? size : sizeof value);
  return value;
}

static void print_fields(const pb_msgdesc_t *fields, void *message) {
  pb_field_iter_t field;
  const char *comma = "";
  putchar('{');
  if (pb_field_iter_begin(&field, fields, message)) {
    do {
      bool repeated = PB_HTYPE(field.type) == PB_HTYPE_REPEATED;
      size_t count = repeated ? *(const pb_size_t *)field.pSize : 1;
      if (PB_HTYPE(field.type) == PB_HTYPE_OPTIONAL && field.pSize && !*(const bool *)field.pSize)
        continue;
      printf("%s\"%u\":%s", comma, (unsigned)field.tag, repeated ? "[" : "");
      for (size_t i = 0; i < count; i++) {
        char *at = (char *)field.pData + i * field.data_size;
        if (i > 0) putchar(',');
        if (PB_LTYPE_IS_SUBMSG(field.type)) {
          print_fields(field.submsg_desc, at);
        } else if (PB_LTYPE(field.type) == PB_LTYPE_STRING) {
          putchar('"');
          print_hex((const uint8_t *)at, strlen(at));
          putchar('"');
        } else {
          printf("%llu", (unsigned long long)integer(at, field.data_size));
        }
      }
      if (repeated) putchar(']');
      comma = ",";
    } while (pb_field_iter_next(&field));
  }
  putchar('}');
}

static void print_message(VencMessage *message) {
  static uint8_t bytes[VSOCKENC_MAX_MESSAGE_BYTES];
  size_t size = venc_wire_encode(message, bytes, sizeof bytes);
  printf("%s %u %u ", venc_wire_name(message->header.type), message->header.epoch,
         message->header.sequence);
  print_hex(bytes, size);
  putchar(' ');
  const pb_msgdesc_t *fields = venc_wire_fields(message->header.type);
  if (fields) {
    print_fields(fields, &message->u);
  } else {
    printf("{\"frame\":%u,\"offset\":%u,\"bytes\":\"", message->u.data.frame,
           message->u.data.offset);
    print_hex(message->u.data.bytes, message->u.data.size);
    printf("\"}");
  }
  putchar('\n');
}

static void take_messages(VencParser *parser) {
  static VencMessage message;
  for (;;) {
    unsigned long long before = all_hashed;
    VencWireResult result = venc_parser_next(parser, &message);
    hashed += all_hashed - before;
    switch (result) {
      case VENC_WIRE_INCOMPLETE:
        return;
      case VENC_WIRE_MESSAGE:
        print_message(&message);
        break;
      case VENC_WIRE_UNKNOWN:
        printf("unknown %u\n", message.header.type);
        break;
      case VENC_WIRE_MALFORMED:
        printf("malformed %u\n", message.header.type);
        break;
      case VENC_WIRE_OLDER:
        printf("older %u\n", message.header.version);
        break;
    }
  }
}

static void feed(VencParser *parser, const uint8_t *bytes, size_t size, size_t chunk) {
  while (size > 0) {
    size_t room;
    uint8_t *space = venc_parser_space(parser, &room);
    size_t n = size < chunk ? size : chunk;
    if (n > room) n = room;
    memcpy(space, bytes, n);
    venc_parser_commit(parser, n);
    take_messages(parser);
    bytes += n;
    size -= n;
  }
}

int main(int argc, char **argv) {
  static VencParser parser;
  size_t chunk = argc > 1 ? strtoul(argv[1], NULL, 10) : SIZE_MAX;
  char *line = NULL;
  size_t capacity = 0;
  ssize_t length;

  if (chunk == 0) {
    fprintf(stderr, "usage: wire-echo [CHUNK]\n");
    return 2;
  }
  while ((length = getline(&line, &capacity, stdin)) > 0) {
    size_t size = 0;
    uint8_t *bytes = (uint8_t *)line; /* decoded in place: two digits become one byte */
    for (ssize_t i = 0; i + 1 < length; i += 2) {
      char digits[3] = {line[i], line[i + 1], 0};
      char *end;
      unsigned long value = strtoul(digits, &end, 16);
      if (*end) break;
      bytes[size++] = (uint8_t)value;
    }
    feed(&parser, bytes, size, chunk);
  }
  free(line);
  printf("skipped %llu, hashed %llu\n", (unsigned long long)parser.skipped, hashed);
  return 0;
}
