/*
 * The element's parser and decoder against a hostile host.
 *
 * The first byte chooses. 0: the rest is the stream itself, in pieces of which the second byte says
 * the size; the parser may hash no more than a few times its bytes. Else: the rest is a type and a
 * body, and gets the header and CRC that a random stream would never have; what can be decoded must
 * survive being encoded and decoded again.
 */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "wire.h"

#define MAX_HASHED_PER_BYTE 4u

static VencParser parser;
static size_t hashed;

/* The linker has zlib called through this (CMakeLists.txt). */
uLong __real_crc32(uLong crc, const Bytef *bytes, uInt size);
uLong __wrap_crc32(uLong crc, const Bytef *bytes, uInt size);

uLong __wrap_crc32(uLong crc, const Bytef *bytes, uInt size) {
  hashed += size;
  return __real_crc32(crc, bytes, size);
}

static void require(bool truth) {
  if (!truth) abort();
}

static void put_u32(uint8_t *at, uint32_t value) {
  for (unsigned i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (8 * i));
}

static void put_u16(uint8_t *at, uint16_t value) {
  at[0] = (uint8_t)value;
  at[1] = (uint8_t)(value >> 8);
}

static void feed(const uint8_t *bytes, size_t size) {
  size_t space;
  uint8_t *to = venc_parser_space(&parser, &space);
  require(size <= space);
  memcpy(to, bytes, size);
  venc_parser_commit(&parser, size);
}

static volatile uint8_t sink;

/* Every byte of a Data message is read, so that a wrong length shows. */
static void touch(const VencMessage *message) {
  if (message->header.type != vsockenc_MessageType_DATA) return;
  for (size_t i = 0; i < message->u.data.size; i++) sink = message->u.data.bytes[i];
}

static void parse_stream(const uint8_t *bytes, size_t size, size_t piece) {
  static VencMessage message;
  size_t consumed = 0;
  hashed = 0;
  for (size_t done = 0; done < size;) {
    size_t part = size - done < piece ? size - done : piece;
    feed(bytes + done, part);
    done += part;
    for (;;) {
      VencWireResult result = venc_parser_next(&parser, &message);
      if (result == VENC_WIRE_INCOMPLETE) break;
      consumed += message.wire_bytes;
      if (result == VENC_WIRE_MESSAGE) touch(&message);
    }
    size_t space;
    venc_parser_space(&parser, &space);
    require(space >= VSOCKENC_MAX_MESSAGE_BYTES);
    require(parser.skipped + consumed + parser.end - parser.begin == done);
    require(hashed <= MAX_HASHED_PER_BYTE * done);
  }
}

static size_t wrap(uint8_t *message, uint8_t type, const uint8_t *body, size_t size) {
  memset(message, 0, VSOCKENC_HEADER_BYTES);
  put_u32(message, VSOCKENC_MAGIC);
  message[VSOCKENC_HEADER_VERSION] = VSOCKENC_PROTOCOL_VERSION;
  message[VSOCKENC_HEADER_TYPE] = type;
  put_u16(message + VSOCKENC_HEADER_LENGTH, (uint16_t)size);
  put_u16(message + VSOCKENC_HEADER_CHECK, (uint16_t)crc32(0, message, VSOCKENC_HEADER_CHECK));
  memcpy(message + VSOCKENC_HEADER_BYTES, body, size);
  uint32_t crc = (uint32_t)crc32(0, message, (uInt)(VSOCKENC_HEADER_BYTES + size));
  put_u32(message + VSOCKENC_HEADER_CRC, crc);
  return VSOCKENC_HEADER_BYTES + size;
}

static void decode(uint8_t type, const uint8_t *body, size_t size) {
  static uint8_t first[VSOCKENC_MAX_MESSAGE_BYTES], second[VSOCKENC_MAX_MESSAGE_BYTES];
  static VencMessage message;
  if (size > VSOCKENC_MAX_MESSAGE_BYTES - VSOCKENC_HEADER_BYTES) return;
  feed(first, wrap(first, type, body, size));
  VencWireResult result = venc_parser_next(&parser, &message);
  require(result != VENC_WIRE_INCOMPLETE && message.header.type == type);
  if (result != VENC_WIRE_MESSAGE) return;
  touch(&message);
  size_t length = venc_wire_encode(&message, first, sizeof first);
  require(length > 0);
  venc_parser_reset(&parser);
  feed(first, length);
  require(venc_parser_next(&parser, &message) == VENC_WIRE_MESSAGE);
  require(venc_wire_encode(&message, second, sizeof second) == length);
  require(memcmp(first, second, length) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  venc_parser_reset(&parser);
  if (data[0] == 0)
    parse_stream(data + 2, size - 2, (size_t)data[1] + 1);
  else
    decode(data[1], data + 2, size - 2);
  return 0;
}
