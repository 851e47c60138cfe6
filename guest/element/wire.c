#include "wire.h"

#include <pb_decode.h>
#include <pb_encode.h>
#include <string.h>
#include <zlib.h>

#define MAX_BODY_BYTES (VSOCKENC_MAX_MESSAGE_BYTES - VSOCKENC_HEADER_BYTES)
#define CRC_BYTES 4u

static const struct {
  uint8_t type;
  const char *name;
  const pb_msgdesc_t *fields;
} BODIES[] = {
    {vsockenc_MessageType_GREETING, "Greeting", vsockenc_Greeting_fields},
    {vsockenc_MessageType_HELLO, "Hello", vsockenc_Hello_fields},
    {vsockenc_MessageType_WELCOME, "Welcome", vsockenc_Welcome_fields},
    {vsockenc_MessageType_PING, "Ping", vsockenc_Ping_fields},
    {vsockenc_MessageType_PONG, "Pong", vsockenc_Pong_fields},
    {vsockenc_MessageType_BYE, "Bye", vsockenc_Bye_fields},
    {vsockenc_MessageType_CREDIT, "Credit", vsockenc_Credit_fields},
    {vsockenc_MessageType_ERROR, "Error", vsockenc_Error_fields},
    {vsockenc_MessageType_CONFIGURE, "Configure", vsockenc_Configure_fields},
    {vsockenc_MessageType_CONFIGURED, "Configured", vsockenc_Configured_fields},
    {vsockenc_MessageType_DRAIN, "Drain", vsockenc_Drain_fields},
    {vsockenc_MessageType_DRAINED, "Drained", vsockenc_Drained_fields},
    {vsockenc_MessageType_FLUSH, "Flush", vsockenc_Flush_fields},
    {vsockenc_MessageType_FLUSHED, "Flushed", vsockenc_Flushed_fields},
    {vsockenc_MessageType_ATTACH, "Attach", vsockenc_Attach_fields},
    {vsockenc_MessageType_ATTACHED, "Attached", vsockenc_Attached_fields},
    {vsockenc_MessageType_DETACH, "Detach", vsockenc_Detach_fields},
    {vsockenc_MessageType_PROBE, "Probe", vsockenc_Probe_fields},
    {vsockenc_MessageType_PROBED, "Probed", vsockenc_Probed_fields},
    {vsockenc_MessageType_FRAME, "Frame", vsockenc_Frame_fields},
    {vsockenc_MessageType_FRAME_DONE, "FrameDone", vsockenc_FrameDone_fields},
    {vsockenc_MessageType_PACKET, "Packet", vsockenc_Packet_fields},
    {vsockenc_MessageType_DROPPED, "Dropped", vsockenc_Dropped_fields},
};

static void put_u32(uint8_t *at, uint32_t value) {
  for (unsigned i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get_u32(const uint8_t *at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void put_u16(uint8_t *at, uint16_t value) {
  at[0] = (uint8_t)value;
  at[1] = (uint8_t)(value >> 8);
}

static uint16_t get_u16(const uint8_t *at) {
  return (uint16_t)(at[0] | at[1] << 8);
}

static uint16_t header_check(const uint8_t *header) {
  return (uint16_t)crc32(0, header, VSOCKENC_HEADER_CHECK);
}

static uint32_t message_crc(const uint8_t *bytes, size_t size) {
  static const uint8_t no_crc[CRC_BYTES] = {0};
  uLong crc = crc32(0, bytes, VSOCKENC_HEADER_CRC);
  crc = crc32(crc, no_crc, CRC_BYTES);
  return (uint32_t)crc32(crc, bytes + VSOCKENC_HEADER_BYTES, (uInt)(size - VSOCKENC_HEADER_BYTES));
}

const pb_msgdesc_t *venc_wire_fields(uint8_t type) {
  for (size_t i = 0; i < sizeof BODIES / sizeof *BODIES; i++)
    if (BODIES[i].type == type) return BODIES[i].fields;
  return NULL;
}

const char *venc_wire_name(uint8_t type) {
  if (type == vsockenc_MessageType_DATA) return "Data";
  for (size_t i = 0; i < sizeof BODIES / sizeof *BODIES; i++)
    if (BODIES[i].type == type) return BODIES[i].name;
  return "unknown";
}

void venc_parser_reset(VencParser *parser) {
  parser->begin = parser->end = parser->awaited = 0;
  parser->skipped = 0;
}

uint8_t *venc_parser_space(VencParser *parser, size_t *size) {
  if (parser->begin > 0) {
    memmove(parser->buffer, parser->buffer + parser->begin, parser->end - parser->begin);
    parser->end -= parser->begin;
    parser->begin = 0;
  }
  *size = sizeof parser->buffer - parser->end;
  return parser->buffer + parser->end;
}

void venc_parser_commit(VencParser *parser, size_t size) {
  size_t room = sizeof parser->buffer - parser->end;
  parser->end += size < room ? size : room;
}

static void skip(VencParser *parser, size_t bytes) {
  parser->begin += bytes;
  parser->skipped += bytes;
}

/* Moves to the next magic, or to the tail that could still become one. */
static bool find_magic(VencParser *parser) {
  uint8_t magic[4];
  put_u32(magic, VSOCKENC_MAGIC);
  while (parser->begin < parser->end) {
    const uint8_t *from = parser->buffer + parser->begin;
    size_t left = parser->end - parser->begin;
    const uint8_t *found = memchr(from, magic[0], left);
    if (!found) {
      skip(parser, left);
      return false;
    }
    skip(parser, (size_t)(found - from));
    left = parser->end - parser->begin;
    if (memcmp(found, magic, left < sizeof magic ? left : sizeof magic) == 0)
      return left >= sizeof magic;
    skip(parser, 1);
  }
  return false;
}

/* Length of the message that a header begins, or 0 if it is not one. */
static size_t announced_bytes(const uint8_t *header) {
  uint8_t version = header[VSOCKENC_HEADER_VERSION];
  size_t length = get_u16(header + VSOCKENC_HEADER_LENGTH);
  uint16_t check = get_u16(header + VSOCKENC_HEADER_CHECK);
  bool is_header = version == VSOCKENC_PROTOCOL_VERSION
                       ? length <= MAX_BODY_BYTES && check == header_check(header)
                       /* Versions before the third have a length of four bytes and no check. */
                       : version > 0 && version < VSOCKENC_PROTOCOL_VERSION &&
                             header[VSOCKENC_HEADER_TYPE] == vsockenc_MessageType_GREETING &&
                             length <= VSOCKENC_OLDER_OPENING_BYTES && check == 0;
  return is_header ? VSOCKENC_HEADER_BYTES + length : 0;
}

static VencWireResult read_body(const uint8_t *body, size_t length, VencMessage *message) {
  if (message->header.version != VSOCKENC_PROTOCOL_VERSION) return VENC_WIRE_OLDER;
  if (message->header.type == vsockenc_MessageType_DATA) {
    if (length < VSOCKENC_DATA_PREFIX_BYTES) return VENC_WIRE_MALFORMED;
    message->u.data = (VencData){
        .frame = get_u32(body),
        .offset = get_u32(body + 4),
        .bytes = body + VSOCKENC_DATA_PREFIX_BYTES,
        .size = length - VSOCKENC_DATA_PREFIX_BYTES,
    };
    return VENC_WIRE_MESSAGE;
  }
  const pb_msgdesc_t *fields = venc_wire_fields(message->header.type);
  if (!fields) return VENC_WIRE_UNKNOWN;
  pb_istream_t stream = pb_istream_from_buffer(body, length);
  return pb_decode(&stream, fields, &message->u) ? VENC_WIRE_MESSAGE : VENC_WIRE_MALFORMED;
}

VencWireResult venc_parser_next(VencParser *parser, VencMessage *message) {
  if (parser->end - parser->begin < parser->awaited) return VENC_WIRE_INCOMPLETE;
  parser->awaited = 0;
  while (find_magic(parser)) {
    const uint8_t *bytes = parser->buffer + parser->begin;
    size_t left = parser->end - parser->begin;
    if (left < VSOCKENC_HEADER_BYTES) return VENC_WIRE_INCOMPLETE;
    size_t total = announced_bytes(bytes);
    if (total == 0) {
      skip(parser, 1);
      continue;
    }
    if (left < total) {
      parser->awaited = total;
      return VENC_WIRE_INCOMPLETE;
    }
    if (message_crc(bytes, total) != get_u32(bytes + VSOCKENC_HEADER_CRC)) {
      /* As a whole: messages within a false one could be false as well, and each byte would be
       * hashed again for each of them. */
      skip(parser, total);
      continue;
    }
    message->header = (VencHeader){
        .version = bytes[VSOCKENC_HEADER_VERSION],
        .type = bytes[VSOCKENC_HEADER_TYPE],
        .flags = bytes[VSOCKENC_HEADER_FLAGS],
        .stream = bytes[VSOCKENC_HEADER_STREAM],
        .epoch = get_u32(bytes + VSOCKENC_HEADER_EPOCH),
        .sequence = get_u32(bytes + VSOCKENC_HEADER_SEQUENCE),
    };
    message->wire_bytes = total;
    parser->begin += total;
    return read_body(bytes + VSOCKENC_HEADER_BYTES, total - VSOCKENC_HEADER_BYTES, message);
  }
  return VENC_WIRE_INCOMPLETE;
}

/* Returns the body's length, or SIZE_MAX. */
static size_t write_body(const VencMessage *message, uint8_t *body, size_t capacity) {
  if (message->header.type == vsockenc_MessageType_DATA) {
    const VencData *data = &message->u.data;
    if (capacity < VSOCKENC_DATA_PREFIX_BYTES || data->size > capacity - VSOCKENC_DATA_PREFIX_BYTES)
      return SIZE_MAX;
    put_u32(body, data->frame);
    put_u32(body + 4, data->offset);
    if (data->size > 0) memcpy(body + VSOCKENC_DATA_PREFIX_BYTES, data->bytes, data->size);
    return VSOCKENC_DATA_PREFIX_BYTES + data->size;
  }
  const pb_msgdesc_t *fields = venc_wire_fields(message->header.type);
  pb_ostream_t stream = pb_ostream_from_buffer(body, capacity);
  if (!fields || !pb_encode(&stream, fields, &message->u)) return SIZE_MAX;
  return stream.bytes_written;
}

size_t venc_wire_encode(const VencMessage *message, uint8_t *bytes, size_t capacity) {
  if (capacity > VSOCKENC_MAX_MESSAGE_BYTES) capacity = VSOCKENC_MAX_MESSAGE_BYTES;
  if (capacity < VSOCKENC_HEADER_BYTES) return 0;
  size_t length =
      write_body(message, bytes + VSOCKENC_HEADER_BYTES, capacity - VSOCKENC_HEADER_BYTES);
  if (length == SIZE_MAX) return 0;
  put_u32(bytes, VSOCKENC_MAGIC);
  bytes[VSOCKENC_HEADER_VERSION] = VSOCKENC_PROTOCOL_VERSION;
  bytes[VSOCKENC_HEADER_TYPE] = message->header.type;
  bytes[VSOCKENC_HEADER_FLAGS] = message->header.flags;
  bytes[VSOCKENC_HEADER_STREAM] = message->header.stream;
  put_u32(bytes + VSOCKENC_HEADER_EPOCH, message->header.epoch);
  put_u32(bytes + VSOCKENC_HEADER_SEQUENCE, message->header.sequence);
  put_u16(bytes + VSOCKENC_HEADER_LENGTH, (uint16_t)length);
  put_u16(bytes + VSOCKENC_HEADER_CHECK, header_check(bytes));
  size_t total = VSOCKENC_HEADER_BYTES + length;
  put_u32(bytes + VSOCKENC_HEADER_CRC, message_crc(bytes, total));
  return total;
}
