/* Internals of the scripted relay, shared by peer*.c. */
#ifndef TEST_PEER_PRIVATE_H
#define TEST_PEER_PRIVATE_H

#include "peer.h"
#include "vectors.h"
#include "wire.h"

typedef struct {
  guint32 frame;
  guint buffer;
  gboolean key;
  guint32 missing; /* bytes of inline pixels still to come */
} Pending;

struct _Peer {
  GMutex lock;
  GThread *thread;
  gboolean stop;
  int listener, wake;
  guint32 boot_id;
  PeerScript script;
  PeerCounts counts;
  const Vector *vector; /* source of its access units */
  guint level;          /* of the stream */
  gboolean key_next;    /* the encoder has changed */

  /* Of the current connection; used by the thread only. */
  int client;
  VencParser parser;
  VencMessage in, out;
  guint32 epoch, sequence_in, sequence_out;
  guint64 bulk_sent, bulk_allowed, bulk_received, bulk_granted;
  guint64 attached, refused, inlined; /* bits of buffer numbers */
  guint32 pixel_crc, pixel_offset;    /* of the inline frame being received */
  guint32 last_frame, serial;
  guint64 last_pts;
  gboolean first;
  GArray *pending;
  guint32 early_frame, early_missing; /* already dropped; missing pixels */
};

/* peer.c: begins a message with all fields 0; sends it. */
VencMessage *peer_begin(Peer *peer, vsockenc_MessageType type);
void peer_finish(Peer *peer);

/* peer-stream.c: buffers and frames. */
void peer_on_attach(Peer *peer, const vsockenc_Attach *attach);
void peer_on_detach(Peer *peer, guint buffer);
void peer_on_probe(Peer *peer, guint buffer);
void peer_on_frame(Peer *peer, const vsockenc_Frame *frame);
void peer_on_data(Peer *peer, const VencData *data);
/* Answers pending frames in order, as far as the guest's credit allows. */
void peer_answer(Peer *peer);

#endif
