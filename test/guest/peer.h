/*
 * A relay whose behaviour the test scripts, protocol violations included. It serves a socket from
 * its own thread; its "encoder" makes access units of a few bytes.
 */
#ifndef TEST_PEER_H
#define TEST_PEER_H

#include <glib.h>

#include "buffer.pb.h"
#include "session.pb.h"
#include "stream.pb.h"
#include "vsockenc-limits.h"

typedef struct _Peer Peer;

/* Misbehaviour; can be set at any time. */
typedef enum {
  PEER_DEAF = 1 << 0,           /* accepts connections and never answers */
  PEER_NO_ANSWERS = 1 << 1,     /* accepts frames without answering them */
  PEER_NO_CONFIGURED = 1 << 2,  /* never answers Configure */
  PEER_REFUSE = 1 << 3,         /* rejects every configuration */
  PEER_FOREIGN_FRAME = 1 << 4,  /* Packet for an unknown frame */
  PEER_HUGE_UNIT = 1 << 5,      /* Packet with a size above the limit */
  PEER_WRONG_OFFSET = 1 << 6,   /* Data with a wrong offset */
  PEER_SHORT_READS = 1 << 7,    /* writes one byte at a time */
  PEER_NOISE = 1 << 8,          /* noise between messages */
  PEER_REFUSE_BUFFERS = 1 << 9, /* Error for every Attach */
  PEER_REFUSE_ODD = 1 << 11,    /* rejects odd bit rates */
  PEER_DROP_ODD = 1 << 10,      /* Dropped for every other frame */
  PEER_NO_RESOURCES = 1 << 12,  /* has no exporter; rejects resources */
  PEER_GATHER = 1 << 13,        /* gathers scattered pages */
  PEER_EARLY_DROP = 1 << 15,    /* drops inline frames before their pixels arrive */
  PEER_NO_CREDIT = 1 << 14,     /* grants no credit beyond the first window */
  PEER_NO_ATTACHED = 1 << 16,   /* never answers Attach */
  PEER_READ = 1 << 17,          /* copies what its GPU rendered */
  PEER_OLDER = 1 << 18,         /* speaks version 2 only: greets, and understands no Hello */
  PEER_OLDER_ONCE = 1 << 20,    /* the same, and greets once */
  PEER_LEFTOVERS = 1 << 19,     /* Greetings of a relay of version 2 precede what it sends */
} PeerFault;

typedef struct {
  guint faults;     /* of PeerFault */
  guint unit_bytes; /* of an access unit beyond the headers */
  const vsockenc_EncoderOffer *offers;
  guint n_offers;
  guint64 modifier;   /* that it reads besides linear; 0: none */
  const guint8 *unit; /* replaces every access unit; NULL: none does */
  guint unit_size;
  guint32 probe_crc; /* its answer to Probe for a resource */
  guint64 probe_bytes;
  guint hang_up_after; /* this many further messages, once; 0: never */
} PeerScript;

typedef struct {
  guint configures, attaches, frames, forced, drains;
  guint attached, most_attached, most_in_flight;
  vsockenc_Configure configure; /* the last one */
  vsockenc_Attach attach;       /* the last one */
  guint frames_inline;
  guint64 pixel_bytes; /* in Data */
  guint32 last_crc;    /* of the last inline frame's pixels */
  guint violations;    /* of the protocol, by the guest */
} PeerCounts;

/* Listens on `path`, which must not exist, with `faults` from the start. */
Peer *peer_new(const gchar *path, guint faults);
/* Listens on a TCP port of 127.0.0.1. */
Peer *peer_new_tcp(guint16 *port);
/* Closes the connection, like a relay that is restarted immediately. */
void peer_hang_up(Peer *peer);
/* Stops as if by SIGKILL: the socket's file stays. */
void peer_kill(Peer *peer);
/* The script, until peer_unlock(). */
PeerScript *peer_lock(Peer *peer);
void peer_unlock(Peer *peer);
#define peer_set(peer, field, value) (peer_lock(peer)->field = (value), peer_unlock(peer))
/* Grants the credit that the guest has used, after PEER_NO_CREDIT. */
void peer_grant(Peer *peer);
PeerCounts peer_counts(Peer *peer);

/* Numbers of the session, each of the last one. */
typedef struct {
  guint32 to_guest, from_guest; /* sequence */
  guint32 frame, serial;
} PeerNumbers;

/*
 * Makes them `numbers`, with the guest, which holds `expected`; FALSE: they differ, so something is
 * under way.
 */
gboolean peer_renumber(Peer *peer, const PeerNumbers *expected, const PeerNumbers *numbers);

#endif
