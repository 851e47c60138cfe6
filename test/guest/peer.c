#include "peer.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "wire.h"

/* Constrained baseline, level 3; no more of it is read than profile and level. */
static const guint8 PARAMETER_SETS[] = {0,    0,    0, 1, 0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80,
                                        0xf6, 0x94, 0, 0, 0,    1,    0x68, 0xce, 0x3c, 0x80};

typedef struct {
  guint32 frame;
  guint buffer;
  gboolean key;
  gint64 due;
} Pending;

struct _Peer {
  GMutex lock;
  GThread *thread;
  gboolean stop;
  int listener, wake;
  guint32 boot_id;
  guint faults, delay_ms, unit_bytes;
  PeerCounts counts;

  /* Of the present connection; the thread's alone. */
  int client;
  VencParser parser;
  VencMessage in, out;
  guint32 epoch, sequence_in, sequence_out;
  guint64 bulk_sent, bulk_allowed, bulk_received, bulk_granted;
  guint64 attached, refused;
  guint32 last_frame, serial;
  guint64 last_pts;
  gboolean first;
  GArray *pending;
};

static void write_all(Peer *peer, const guint8 *bytes, gsize size) {
  gsize step = peer->faults & PEER_SHORT_READS ? 1 : size;
  while (size > 0 && peer->client >= 0) {
    ssize_t n = send(peer->client, bytes, MIN(step, size), MSG_NOSIGNAL);
    if (n < 0 && errno != EINTR) return;
    if (n < 0) continue;
    bytes += n;
    size -= (gsize)n;
  }
}

static VencMessage *begin(Peer *peer, vsockenc_MessageType type) {
  memset(&peer->out, 0, sizeof peer->out);
  peer->out.header.type = (guint8)type;
  peer->out.header.epoch = peer->epoch;
  return &peer->out;
}

static void finish(Peer *peer) {
  /* Half a magic, and a magic of no known version; a whole false header may cost a message. */
  static const guint8 noise[] = {'V', 'E', 'N', 0, 0xff, 'V', 'E', 'N', 'C', 9, 0xff};
  guint8 bytes[VSOCKENC_MAX_MESSAGE_BYTES];
  guint8 type = peer->out.header.type;
  if (type != vsockenc_MessageType_WELCOME && type != vsockenc_MessageType_GREETING)
    peer->out.header.sequence = ++peer->sequence_out;
  if (peer->faults & PEER_NOISE) write_all(peer, noise, sizeof noise);
  gsize size = venc_wire_encode(&peer->out, bytes, sizeof bytes);
  if (type == vsockenc_MessageType_PACKET || type == vsockenc_MessageType_DATA)
    peer->bulk_sent += size;
  write_all(peer, bytes, size);
}

static void send_unit(Peer *peer, const Pending *pending) {
  g_autoptr(GByteArray) unit = g_byte_array_new();
  const guint8 slice[] = {0, 0, 0, 1, pending->key ? 0x65 : 0x41, 0x88};
  if (pending->key) g_byte_array_append(unit, PARAMETER_SETS, sizeof PARAMETER_SETS);
  g_byte_array_append(unit, slice, sizeof slice);
  guint head = unit->len;
  g_byte_array_set_size(unit, head + peer->unit_bytes);
  memset(unit->data + head, 0x5a, peer->unit_bytes);

  vsockenc_Packet *packet = &begin(peer, vsockenc_MessageType_PACKET)->u.packet;
  packet->frame = pending->frame + (peer->faults & PEER_FOREIGN_FRAME ? 1000 : 0);
  packet->size = peer->faults & PEER_HUGE_UNIT ? G_MAXUINT32 : unit->len;
  packet->key = pending->key;
  packet->queue_us = 10;
  packet->encode_us = 1000;
  finish(peer);
  for (guint at = 0; at < unit->len;) {
    guint size = MIN(unit->len - at, 30000u);
    VencData *data = &begin(peer, vsockenc_MessageType_DATA)->u.data;
    data->frame = pending->frame;
    data->offset = at + (peer->faults & PEER_WRONG_OFFSET ? 1 : 0);
    data->bytes = unit->data + at;
    data->size = size;
    finish(peer);
    at += size;
  }
}

/* Answers what is due, in order, as far as the guest's credit reaches. */
static void answer(Peer *peer, gint64 now) {
  while (peer->pending->len > 0 && !(peer->faults & PEER_NO_ANSWERS)) {
    Pending pending = g_array_index(peer->pending, Pending, 0);
    /* A unit larger than the window would need partial sending; no test makes one. */
    if (pending.due > now || peer->bulk_sent + peer->unit_bytes + 4096 > peer->bulk_allowed) return;
    begin(peer, vsockenc_MessageType_FRAME_DONE)->u.frame_done.frame = pending.frame;
    finish(peer);
    if ((peer->faults & PEER_DROP_ODD) && pending.frame % 2 == 1) {
      vsockenc_Dropped *dropped = &begin(peer, vsockenc_MessageType_DROPPED)->u.dropped;
      dropped->frame = pending.frame;
      dropped->reason = vsockenc_DropReason_ENCODER_DROPPED;
      finish(peer);
    } else {
      send_unit(peer, &pending);
    }
    g_array_remove_index(peer->pending, 0);
  }
}

static void on_hello(Peer *peer, const VencMessage *message) {
  peer->counts.hellos++;
  if (message->header.epoch != peer->epoch) {
    peer->epoch = message->header.epoch;
    peer->sequence_in = peer->sequence_out = 0;
    peer->bulk_sent = peer->bulk_received = 0;
    peer->bulk_allowed = message->u.hello.window_bytes;
    peer->bulk_granted = VSOCKENC_GUEST_WINDOW_BYTES;
    peer->attached = peer->refused = 0;
    peer->counts.attached = 0;
    peer->last_frame = peer->serial = 0;
    peer->last_pts = 0;
    peer->first = TRUE;
    g_array_set_size(peer->pending, 0);
  }
  vsockenc_Welcome *welcome = &begin(peer, vsockenc_MessageType_WELCOME)->u.welcome;
  welcome->version = VSOCKENC_PROTOCOL_VERSION;
  welcome->host_boot_id = peer->boot_id;
  welcome->window_bytes = VSOCKENC_GUEST_WINDOW_BYTES;
  welcome->max_attached = VSOCKENC_MAX_ATTACHED_BUFFERS;
  welcome->max_in_flight = VSOCKENC_MAX_IN_FLIGHT_FRAMES;
  welcome->resources = true;
  /* Not UTF-8. */
  g_strlcpy(welcome->software, "peer\xff", sizeof welcome->software);
  finish(peer);
}

static void on_configure(Peer *peer, const vsockenc_Configure *configure) {
  peer->counts.configures++;
  peer->counts.width = configure->width;
  peer->counts.height = configure->height;
  peer->counts.bitrate_kbps = configure->bitrate_kbps;
  peer->counts.matrix = configure->colorimetry.matrix;
  if (configure->serial <= peer->serial) peer->counts.violations++;
  peer->serial = configure->serial;
  if (peer->faults & PEER_NO_CONFIGURED) return;
  if ((peer->faults & PEER_REFUSE) ||
      ((peer->faults & PEER_REFUSE_ODD) && configure->bitrate_kbps % 2 == 1)) {
    vsockenc_Error *error = &begin(peer, vsockenc_MessageType_ERROR)->u.error;
    error->code = vsockenc_ErrorCode_ENCODER_UNAVAILABLE;
    error->subject = vsockenc_ErrorSubject_CONFIGURATION;
    error->id = configure->serial;
    g_strlcpy(error->text, "the peer was told to refuse", sizeof error->text);
    finish(peer);
    return;
  }
  vsockenc_Configured *configured = &begin(peer, vsockenc_MessageType_CONFIGURED)->u.configured;
  configured->serial = configure->serial;
  g_strlcpy(configured->encoder, "peer", sizeof configured->encoder);
  configured->width = (configure->width + 1) & ~1u;
  configured->height = (configure->height + 1) & ~1u;
  configured->has_colorimetry = true;
  configured->colorimetry = (vsockenc_Colorimetry){.primaries = 1, .transfer = 1, .matrix = 1};
  finish(peer);
}

static void on_attach(Peer *peer, const vsockenc_Attach *attach) {
  guint64 bit = attach->buffer < 64 ? G_GUINT64_CONSTANT(1) << attach->buffer : 0;
  peer->counts.attaches++;
  peer->counts.last_fourcc = attach->fourcc;
  peer->counts.last_planes = attach->planes_count;
  for (guint i = 0; i < attach->planes_count; i++)
    peer->counts.last_plane[i] =
        (PeerPlane){attach->planes[i].resource, attach->planes[i].offset, attach->planes[i].stride};
  if (!bit || (peer->attached & bit)) peer->counts.violations++;
  if (peer->faults & PEER_REFUSE_BUFFERS) {
    /* The guest need not wait for this answer, so frames with the buffer may follow. */
    peer->refused |= bit;
    vsockenc_Error *error = &begin(peer, vsockenc_MessageType_ERROR)->u.error;
    error->code = vsockenc_ErrorCode_NO_EXPORTER;
    error->subject = vsockenc_ErrorSubject_BUFFER;
    error->id = attach->buffer;
    g_strlcpy(error->text, "no exporter", sizeof error->text);
    finish(peer);
    return;
  }
  peer->attached |= bit;
  peer->counts.attached++;
  peer->counts.most_attached = MAX(peer->counts.most_attached, peer->counts.attached);
  vsockenc_Attached *attached = &begin(peer, vsockenc_MessageType_ATTACHED)->u.attached;
  attached->buffer = attach->buffer;
  attached->tier = vsockenc_SourceTier_RESOURCE;
  attached->runs = 3;
  finish(peer);
}

static void on_detach(Peer *peer, guint buffer) {
  guint64 bit = buffer < 64 ? G_GUINT64_CONSTANT(1) << buffer : 0;
  peer->counts.detaches++;
  if (!(peer->attached & bit)) peer->counts.violations++;
  peer->attached &= ~bit;
  peer->counts.attached--;
  for (guint i = 0; i < peer->pending->len; i++)
    if (g_array_index(peer->pending, Pending, i).buffer == buffer) peer->counts.violations++;
}

static void on_frame(Peer *peer, const vsockenc_Frame *frame) {
  Pending pending = {
      .frame = frame->frame,
      .buffer = frame->buffer,
      .key = peer->first || frame->force_key,
      .due = g_get_monotonic_time() + peer->delay_ms * G_TIME_SPAN_MILLISECOND,
  };
  peer->counts.frames++;
  if (frame->force_key) peer->counts.forced++;
  if (frame->frame <= peer->last_frame || (!peer->first && frame->pts_ns <= peer->last_pts) ||
      frame->buffer >= 64 || !((peer->attached | peer->refused) >> frame->buffer & 1) ||
      frame->configuration != peer->serial)
    peer->counts.violations++;
  peer->first = FALSE;
  peer->last_frame = frame->frame;
  peer->counts.last_pts = peer->last_pts = frame->pts_ns;
  g_array_append_val(peer->pending, pending);
  peer->counts.most_in_flight = MAX(peer->counts.most_in_flight, peer->pending->len);
}

static void on_message(Peer *peer, const VencMessage *message) {
  if (message->header.type == vsockenc_MessageType_HELLO) {
    on_hello(peer, message);
    return;
  }
  if (message->header.epoch != peer->epoch) return;
  if (message->header.sequence != ++peer->sequence_in) peer->counts.violations++;
  switch (message->header.type) {
    case vsockenc_MessageType_PING:
      begin(peer, vsockenc_MessageType_PONG)->u.pong.token = message->u.ping.token;
      finish(peer);
      break;
    case vsockenc_MessageType_BYE:
      peer->counts.byes++;
      peer->epoch = 0;
      break;
    case vsockenc_MessageType_CREDIT:
      peer->bulk_allowed = MAX(peer->bulk_allowed, message->u.credit.granted_bytes);
      break;
    case vsockenc_MessageType_CONFIGURE:
      on_configure(peer, &message->u.configure);
      break;
    case vsockenc_MessageType_ATTACH:
      on_attach(peer, &message->u.attach);
      break;
    case vsockenc_MessageType_DETACH:
      on_detach(peer, message->u.detach.buffer);
      break;
    case vsockenc_MessageType_FRAME:
      peer->bulk_received += message->wire_bytes;
      if (peer->bulk_received > peer->bulk_granted) peer->counts.violations++;
      peer->bulk_granted = peer->bulk_received + VSOCKENC_GUEST_WINDOW_BYTES;
      begin(peer, vsockenc_MessageType_CREDIT)->u.credit.granted_bytes = peer->bulk_granted;
      finish(peer);
      on_frame(peer, &message->u.frame);
      break;
    case vsockenc_MessageType_DRAIN:
      peer->counts.drains++;
      break;
    case vsockenc_MessageType_FLUSH:
      peer->counts.flushes++;
      break;
    case vsockenc_MessageType_ERROR:
      break;
    default:
      peer->counts.violations++;
      break;
  }
}

static void hang_up(Peer *peer) {
  if (peer->client >= 0) close(peer->client);
  peer->client = -1;
  peer->epoch = 0;
}

static void read_client(Peer *peer) {
  gsize room;
  guint8 *space = venc_parser_space(&peer->parser, &room);
  ssize_t n = recv(peer->client, space, room, MSG_DONTWAIT);
  if (n == 0 || (n < 0 && errno != EAGAIN)) {
    hang_up(peer);
    return;
  }
  if (n < 0) return;
  venc_parser_commit(&peer->parser, (gsize)n);
  while (peer->client >= 0) {
    VencWireResult result = venc_parser_next(&peer->parser, &peer->in);
    if (result == VENC_WIRE_INCOMPLETE) break;
    if (result != VENC_WIRE_MESSAGE) peer->counts.violations++;
    if (result == VENC_WIRE_MESSAGE && !(peer->faults & PEER_DEAF)) on_message(peer, &peer->in);
  }
}

static gpointer run(gpointer data) {
  Peer *peer = data;
  g_mutex_lock(&peer->lock);
  while (!peer->stop) {
    struct pollfd fds[3] = {{.fd = peer->wake, .events = POLLIN},
                            {.fd = peer->client < 0 ? peer->listener : -1, .events = POLLIN},
                            {.fd = peer->client, .events = POLLIN}};
    g_mutex_unlock(&peer->lock);
    poll(fds, G_N_ELEMENTS(fds), 2);
    g_mutex_lock(&peer->lock);
    if (peer->stop) break;
    if (fds[1].revents & POLLIN) {
      peer->client = accept(peer->listener, NULL, NULL);
      venc_parser_reset(&peer->parser);
      peer->counts.connections++;
    } else if (fds[2].revents) {
      read_client(peer);
    }
    if (peer->client >= 0) answer(peer, g_get_monotonic_time());
  }
  hang_up(peer);
  g_mutex_unlock(&peer->lock);
  return NULL;
}

Peer *peer_new(const gchar *path) {
  Peer *peer = g_new0(Peer, 1);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  g_strlcpy(address.sun_path, path, sizeof address.sun_path);
  g_mutex_init(&peer->lock);
  peer->boot_id = g_random_int();
  peer->client = -1;
  peer->unit_bytes = 100;
  peer->pending = g_array_new(FALSE, FALSE, sizeof(Pending));
  peer->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  peer->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(peer->listener, (struct sockaddr *)&address, sizeof address) != 0 ||
      listen(peer->listener, 8) != 0)
    g_error("%s: %s", path, g_strerror(errno));
  peer->thread = g_thread_new("peer", run, peer);
  return peer;
}

void peer_kill(Peer *peer) {
  const guint64 one = 1;
  g_mutex_lock(&peer->lock);
  peer->stop = TRUE;
  g_mutex_unlock(&peer->lock);
  if (write(peer->wake, &one, sizeof one) < 0) g_warning("wake: %s", g_strerror(errno));
  g_thread_join(peer->thread);
  close(peer->listener);
  close(peer->wake);
  g_array_unref(peer->pending);
  g_mutex_clear(&peer->lock);
  g_free(peer);
}

void peer_hang_up(Peer *peer) {
  g_mutex_lock(&peer->lock);
  hang_up(peer);
  g_mutex_unlock(&peer->lock);
}

void peer_set_faults(Peer *peer, guint faults) {
  g_mutex_lock(&peer->lock);
  peer->faults = faults;
  g_mutex_unlock(&peer->lock);
}

void peer_set_delay(Peer *peer, guint ms) {
  g_mutex_lock(&peer->lock);
  peer->delay_ms = ms;
  g_mutex_unlock(&peer->lock);
}

void peer_set_unit_bytes(Peer *peer, guint bytes) {
  g_mutex_lock(&peer->lock);
  peer->unit_bytes = bytes;
  g_mutex_unlock(&peer->lock);
}

void peer_get_counts(Peer *peer, PeerCounts *counts) {
  g_mutex_lock(&peer->lock);
  *counts = peer->counts;
  g_mutex_unlock(&peer->lock);
}
