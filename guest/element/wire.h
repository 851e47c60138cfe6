/*
 * Messages between guest and relay as C structs, and their bytes (proto/PROTOCOL.md, "Framing").
 *
 * Theory of operation: the parser owns a fixed buffer. The caller reads from the port straight into
 * it, then takes messages until there are no more. A header is checked before its length is
 * trusted, the CRC before anything else is, and nothing is allocated: strings and lists have the
 * static bounds of limits.ts. After bytes that are not a message the parser continues at the next
 * magic. What it hashes is bounded by what it is given: a header for each magic, a message once.
 *
 * Neither GLib nor GStreamer is needed, so that this file can be tested and fuzzed by itself.
 */
#ifndef VSOCKENC_WIRE_H
#define VSOCKENC_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.pb.h"
#include "frame.pb.h"
#include "session.pb.h"
#include "stream.pb.h"
#include "vsockenc-limits.h"
#include "wire.pb.h"

typedef struct {
  uint8_t version; /* set by the parser */
  uint8_t type;    /* vsockenc_MessageType, or one of a later version */
  uint8_t flags;
  uint8_t stream;
  uint32_t epoch;
  uint32_t sequence;
} VencHeader;

/* A piece of an access unit. When received, `bytes` is valid until the parser is next used. */
typedef struct {
  uint32_t frame;
  uint32_t offset;
  const uint8_t *bytes;
  size_t size;
} VencData;

typedef struct {
  VencHeader header;
  size_t wire_bytes; /* header and body, as they count against credits; set by the parser */
  union {
    vsockenc_Greeting greeting;
    vsockenc_Hello hello;
    vsockenc_Welcome welcome;
    vsockenc_Ping ping;
    vsockenc_Pong pong;
    vsockenc_Bye bye;
    vsockenc_Credit credit;
    vsockenc_Error error;
    vsockenc_Configure configure;
    vsockenc_Configured configured;
    vsockenc_Drain drain;
    vsockenc_Drained drained;
    vsockenc_Flush flush;
    vsockenc_Flushed flushed;
    vsockenc_Attach attach;
    vsockenc_Attached attached;
    vsockenc_Detach detach;
    vsockenc_Probe probe;
    vsockenc_Probed probed;
    vsockenc_Frame frame;
    vsockenc_FrameDone frame_done;
    vsockenc_Packet packet;
    vsockenc_Dropped dropped;
    VencData data;
  } u;
} VencMessage;

typedef enum {
  VENC_WIRE_INCOMPLETE, /* read more */
  VENC_WIRE_MESSAGE,
  VENC_WIRE_UNKNOWN,   /* whole, of a type of a later version: only the header is set */
  VENC_WIRE_MALFORMED, /* whole, but the body does not match its type: only the header is set */
  VENC_WIRE_OLDER,     /* a Greeting in the form of an older version: only the header is set */
} VencWireResult;

/* A whole message and the beginning of the next one always fit. */
#define VENC_PARSER_BYTES (2u * VSOCKENC_MAX_MESSAGE_BYTES)

typedef struct {
  size_t begin, end;
  size_t awaited;   /* length of the message at `begin`, once its header has been checked */
  uint64_t skipped; /* bytes that belonged to no message, NULs included */
  uint8_t buffer[VENC_PARSER_BYTES];
} VencParser;

void venc_parser_reset(VencParser *parser);
/* Where to read to; never less than MAX_MESSAGE_BYTES when venc_parser_next() wanted more. */
uint8_t *venc_parser_space(VencParser *parser, size_t *size);
void venc_parser_commit(VencParser *parser, size_t size);
VencWireResult venc_parser_next(VencParser *parser, VencMessage *message);

/*
 * Writes header and body; returns their length, or 0 if `message` does not fit `capacity` or
 * MAX_MESSAGE_BYTES or holds something that cannot be encoded.
 */
size_t venc_wire_encode(const VencMessage *message, uint8_t *bytes, size_t capacity);

/* nanopb's description of the body, or NULL for DATA and unknown types. */
const pb_msgdesc_t *venc_wire_fields(uint8_t type);
/* For logs; "unknown" for a type of a later version. */
const char *venc_wire_name(uint8_t type);

#endif
