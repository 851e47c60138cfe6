/*
 * A relay that does what a test wants, also what no relay should: it speaks the guest's protocol on
 * a UNIX socket from a thread of its own, and its "encoder" makes access units of a few bytes.
 */
#ifndef TEST_PEER_H
#define TEST_PEER_H

#include <glib.h>

#include "session.pb.h"
#include "vsockenc-limits.h"

typedef struct _Peer Peer;

/* How the peer misbehaves; set at any time. */
typedef enum {
  PEER_DEAF = 1 << 0,           /* accepts, and never says a word */
  PEER_NO_ANSWERS = 1 << 1,     /* takes frames, answers Pings, and nothing else */
  PEER_NO_CONFIGURED = 1 << 2,  /* never answers Configure */
  PEER_REFUSE = 1 << 3,         /* refuses every configuration */
  PEER_FOREIGN_FRAME = 1 << 4,  /* Packet for a frame that was never sent */
  PEER_HUGE_UNIT = 1 << 5,      /* Packet of a size beyond every limit */
  PEER_WRONG_OFFSET = 1 << 6,   /* Data that does not continue */
  PEER_SHORT_READS = 1 << 7,    /* writes one byte at a time */
  PEER_NOISE = 1 << 8,          /* noise between messages */
  PEER_REFUSE_BUFFERS = 1 << 9, /* Error for every Attach */
  PEER_REFUSE_ODD = 1 << 11,    /* refuses odd bit rates */
  PEER_DROP_ODD = 1 << 10,      /* Dropped for every other frame */
  PEER_NO_RESOURCES = 1 << 12,  /* has no exporter: says so in Welcome, and refuses resources */
  PEER_GATHER = 1 << 13,        /* copies scattered pages together */
  PEER_EARLY_DROP = 1 << 15,    /* drops inline frames before their pixels have come */
  PEER_NO_CREDIT = 1 << 14,     /* grants nothing beyond the first window */
  PEER_NO_ATTACHED = 1 << 16,   /* never answers Attach */
} PeerFault;

typedef struct {
  guint32 resource;
  guint64 offset;
  guint32 stride;
} PeerPlane;

typedef struct {
  guint connections, hellos, byes;
  guint configures, attaches, detaches, frames, forced, flushes, drains;
  guint attached, most_attached, most_in_flight;
  /* Of the last Configure. */
  guint width, height, bitrate_kbps, keyframe_interval, matrix;
  guint codec, profile, rate_control;
  guint fps_n, par_n, par_d;
  guint n_levels, levels[VSOCKENC_MAX_LEVELS];
  /* Of the last Attach. */
  guint32 last_fourcc;
  guint64 last_modifier;
  guint last_planes;
  PeerPlane last_plane[4];
  guint64 last_pts;
  guint frames_inline;
  guint64 pixel_bytes; /* in Data */
  guint32 last_crc;    /* of the last inline frame's pixels */
  guint violations;    /* of the protocol, by the guest */
} PeerCounts;

/* Listens at `path`, which must not exist, and has `faults` from the start. */
Peer *peer_new(const gchar *path, guint faults);
/* Listens at a TCP port of 127.0.0.1. */
Peer *peer_new_tcp(guint16 *port);
/* Ends the connection without a word, as a relay does that is restarted at once. */
void peer_hang_up(Peer *peer);
/* Dies without a word, as by SIGKILL; the socket's file stays. */
void peer_kill(Peer *peer);
void peer_set_faults(Peer *peer, guint faults);
/* What Welcome offers; unless told, every profile of both codecs. */
void peer_set_offers(Peer *peer, const vsockenc_EncoderOffer *offers, guint n);
/* The one modifier besides linear that it reads. */
void peer_set_modifier(Peer *peer, guint64 modifier);
/* Puts `bytes`, which stay the caller's, in the place of every access unit; NULL: no more. */
void peer_set_unit(Peer *peer, const guint8 *bytes, guint size);
/* Milliseconds between a frame's FrameDone and its Packet. */
void peer_set_delay(Peer *peer, guint ms);
/* Bytes of an access unit beyond the headers. */
void peer_set_unit_bytes(Peer *peer, guint bytes);
/* Grants what the guest has used up, after PEER_NO_CREDIT. */
void peer_grant(Peer *peer);
/* What Probe of a buffer in a resource is answered with. */
void peer_set_probe(Peer *peer, guint32 crc, guint64 bytes);
void peer_get_counts(Peer *peer, PeerCounts *counts);

#endif
