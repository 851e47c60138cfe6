#include "peer.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zlib.h>

#include "vectors.h"
#include "wire.h"

typedef struct {
  guint32 frame;
  guint buffer;
  gboolean key;
  guint32 missing; /* bytes of inline pixels still to come */
} Pending;

typedef struct {
  guint32 epoch, sequence_in, sequence_out, last_frame, serial;
  guint64 bulk_sent, bulk_allowed, bulk_received, bulk_granted, last_pts;
  guint64 attached, refused, inlined; /* bits of buffer numbers */
  gboolean first;
} Session;

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
  Session s;
  guint32 pixel_crc, pixel_offset; /* of the inline frame being received */
  GArray *pending;
  gint64 greet_at;                    /* PEER_OLDER: the next time */
  guint32 early_frame, early_missing; /* already dropped; missing pixels */
};

/* Serial numbers (RFC 1982). */
static gboolean is_after(guint32 serial, guint32 other) {
  return (gint32)(serial - other) > 0;
}

static void write_all(Peer *peer, const guint8 *bytes, gsize size) {
  gsize step = peer->script.faults & PEER_SHORT_READS ? 1 : size;
  while (size > 0 && peer->client >= 0) {
    ssize_t n = send(peer->client, bytes, MIN(step, size), MSG_NOSIGNAL);
    if (n < 0 && errno != EINTR) return;
    if (n < 0) continue;
    bytes += n;
    size -= (gsize)n;
  }
}

/* Begins a message with all fields 0; finish() sends it. */
static VencMessage *begin(Peer *peer, vsockenc_MessageType type) {
  memset(&peer->out, 0, sizeof peer->out);
  peer->out.header.type = (guint8)type;
  peer->out.header.epoch = peer->s.epoch;
  return &peer->out;
}

static void finish(Peer *peer) {
  /* Half a magic, and a magic with an unknown version; a complete false header could hide a
   * message. */
  static const guint8 noise[] = {'V', 'E', 'N', 0, 0xff, 'V', 'E', 'N', 'C', 9, 0xff};
  guint8 bytes[VSOCKENC_MAX_MESSAGE_BYTES];
  guint8 type = peer->out.header.type;
  if (type != vsockenc_MessageType_WELCOME && type != vsockenc_MessageType_GREETING)
    peer->out.header.sequence = ++peer->s.sequence_out;
  if (peer->script.faults & PEER_NOISE) write_all(peer, noise, sizeof noise);
  gsize size = venc_wire_encode(&peer->out, bytes, sizeof bytes);
  if (type == vsockenc_MessageType_PACKET || type == vsockenc_MessageType_DATA)
    peer->s.bulk_sent += size;
  write_all(peer, bytes, size);
}

/* As version 2 writes it: no check in the header. */
static void greet_as_older(Peer *peer) {
  guint8 bytes[VSOCKENC_MAX_MESSAGE_BYTES];
  VencMessage *message = begin(peer, vsockenc_MessageType_GREETING);
  message->header.epoch = 0;
  message->u.greeting.host_boot_id = peer->boot_id;
  gsize size = venc_wire_encode(message, bytes, sizeof bytes);
  bytes[VSOCKENC_HEADER_VERSION] = 2;
  memset(bytes + VSOCKENC_HEADER_CHECK, 0, VSOCKENC_HEADER_BYTES - VSOCKENC_HEADER_CHECK);
  guint32 crc = GUINT32_TO_LE((guint32)crc32(0, bytes, (uInt)size));
  memcpy(bytes + VSOCKENC_HEADER_CRC, &crc, sizeof crc);
  write_all(peer, bytes, size);
}

static void on_hello(Peer *peer, const VencMessage *message) {
  if (message->header.epoch != peer->s.epoch) {
    peer->s = (Session){.epoch = message->header.epoch,
                        .bulk_allowed = message->u.hello.window_bytes,
                        .bulk_granted = VSOCKENC_GUEST_WINDOW_BYTES,
                        .first = TRUE};
    peer->counts.attached = 0;
    g_array_set_size(peer->pending, 0);
  }
  vsockenc_Welcome *welcome = &begin(peer, vsockenc_MessageType_WELCOME)->u.welcome;
  welcome->version = VSOCKENC_PROTOCOL_VERSION;
  welcome->host_boot_id = peer->boot_id;
  welcome->window_bytes = VSOCKENC_GUEST_WINDOW_BYTES;
  welcome->max_attached = VSOCKENC_MAX_ATTACHED_BUFFERS;
  welcome->max_in_flight = VSOCKENC_MAX_IN_FLIGHT_FRAMES;
  welcome->resources = !(peer->script.faults & PEER_NO_RESOURCES);
  welcome->encoders_count = (pb_size_t)peer->script.n_offers;
  memcpy(welcome->encoders, peer->script.offers,
         peer->script.n_offers * sizeof *peer->script.offers);
  welcome->modifiers_count = peer->script.modifier != 0;
  welcome->modifiers[0].high = (guint32)(peer->script.modifier >> 32);
  welcome->modifiers[0].low = (guint32)peer->script.modifier;
  /* Not UTF-8. */
  g_strlcpy(welcome->software, "peer\xff", sizeof welcome->software);
  finish(peer);
}

/* The lowest level that the guest allows and the vectors need; 0: none. */
static guint choose_level(const Peer *peer, const vsockenc_Configure *configure) {
  guint level = peer->vector->unit[peer->vector->level_at], best = 0;
  if (configure->levels_count == 0) return level;
  for (guint i = 0; i < configure->levels_count; i++)
    if (configure->levels[i] >= level && (!best || configure->levels[i] < best))
      best = configure->levels[i];
  return best;
}

static void refuse(Peer *peer, vsockenc_ErrorSubject subject, guint id, const gchar *text) {
  vsockenc_Error *error = &begin(peer, vsockenc_MessageType_ERROR)->u.error;
  error->code = subject == vsockenc_ErrorSubject_BUFFER ? vsockenc_ErrorCode_NO_EXPORTER
                                                        : vsockenc_ErrorCode_ENCODER_UNAVAILABLE;
  error->subject = subject;
  error->id = id;
  g_strlcpy(error->text, text, sizeof error->text);
  finish(peer);
}

static void on_configure(Peer *peer, const vsockenc_Configure *configure) {
  peer->counts.configures++;
  peer->counts.configure = *configure;
  if (!is_after(configure->serial, peer->s.serial)) peer->counts.violations++;
  peer->s.serial = configure->serial;
  if (peer->script.faults & PEER_NO_CONFIGURED) return;
  if ((peer->script.faults & PEER_REFUSE) ||
      ((peer->script.faults & PEER_REFUSE_ODD) && configure->bitrate_kbps % 2 == 1)) {
    refuse(peer, vsockenc_ErrorSubject_CONFIGURATION, configure->serial, "the peer rejects it");
    return;
  }
  const Vector *before = peer->vector;
  peer->vector = vector_find(configure->codec, configure->profile, (configure->width + 1) & ~1u);
  peer->level = peer->vector ? choose_level(peer, configure) : 0;
  if (peer->level == 0) {
    refuse(peer, vsockenc_ErrorSubject_CONFIGURATION, configure->serial,
           "the peer has no such level");
    return;
  }
  if (peer->vector != before) peer->key_next = TRUE;
  vsockenc_Configured *configured = &begin(peer, vsockenc_MessageType_CONFIGURED)->u.configured;
  configured->serial = configure->serial;
  g_strlcpy(configured->encoder, "peer", sizeof configured->encoder);
  configured->width = (configure->width + 1) & ~1u;
  configured->height = (configure->height + 1) & ~1u;
  /* The host's choice where the guest leaves it open. */
  configured->bitrate_kbps = configure->bitrate_kbps ? configure->bitrate_kbps : 777;
  configured->keyframe_interval = configure->keyframe_interval;
  configured->has_colorimetry = true;
  configured->colorimetry = (vsockenc_Colorimetry){.primaries = 1, .transfer = 1, .matrix = 1};
  finish(peer);
}

/* Real parameter sets and a slice's header, followed by filler that cannot be decoded. */
static void make_unit(Peer *peer, const Pending *pending, GByteArray *unit) {
  static const guint8 heads[2][2][7] = {
      {{0, 0, 0, 1, 0x41, 0x9a, 0x5a}, {0, 0, 0, 1, 0x65, 0x88, 0x84}},
      {{0, 0, 0, 1, 0x02, 0x01, 0xd0}, {0, 0, 0, 1, 0x28, 0x01, 0xaf}},
  };
  const Vector *vector = peer->vector;
  if (peer->script.unit) {
    g_byte_array_append(unit, peer->script.unit, peer->script.unit_size);
    return;
  }
  if (pending->key) {
    g_byte_array_append(unit, vector->unit, vector->sets_size);
    unit->data[vector->level_at] = (guint8)peer->level;
  }
  g_byte_array_append(unit, heads[vector->codec == vsockenc_Codec_H265][pending->key], 7);
  guint head = unit->len;
  g_byte_array_set_size(unit, head + peer->script.unit_bytes);
  memset(unit->data + head, 0x5a, peer->script.unit_bytes);
}

static void send_unit(Peer *peer, const Pending *pending) {
  g_autoptr(GByteArray) unit = g_byte_array_new();
  make_unit(peer, pending, unit);
  vsockenc_Packet *packet = &begin(peer, vsockenc_MessageType_PACKET)->u.packet;
  packet->frame = pending->frame + (peer->script.faults & PEER_FOREIGN_FRAME ? 1000 : 0);
  packet->size = peer->script.faults & PEER_HUGE_UNIT ? G_MAXUINT32 : unit->len;
  packet->key = pending->key;
  packet->queue_us = 10;
  packet->encode_us = 1000;
  finish(peer);
  for (guint at = 0; at < unit->len;) {
    guint size = MIN(unit->len - at, 30000u);
    VencData *data = &begin(peer, vsockenc_MessageType_DATA)->u.data;
    data->frame = pending->frame;
    data->offset = at + (peer->script.faults & PEER_WRONG_OFFSET ? 1 : 0);
    data->bytes = unit->data + at;
    data->size = size;
    finish(peer);
    at += size;
  }
}

/* FrameDone for the first pending frame, and its access unit or Dropped. */
static void answer_first(Peer *peer, gboolean drop) {
  Pending first = g_array_index(peer->pending, Pending, 0);
  begin(peer, vsockenc_MessageType_FRAME_DONE)->u.frame_done.frame = first.frame;
  finish(peer);
  if (drop) {
    vsockenc_Dropped *dropped = &begin(peer, vsockenc_MessageType_DROPPED)->u.dropped;
    dropped->frame = first.frame;
    dropped->reason = vsockenc_DropReason_ENCODER_DROPPED;
    finish(peer);
  } else {
    send_unit(peer, &first);
  }
  g_array_remove_index(peer->pending, 0);
}

/* Answers pending frames in order, as far as the guest's credit allows. */
static void answer(Peer *peer) {
  while (peer->pending->len > 0 && !(peer->script.faults & PEER_NO_ANSWERS)) {
    Pending pending = g_array_index(peer->pending, Pending, 0);
    /* Units larger than the window are not supported. */
    if (pending.missing > 0 ||
        peer->s.bulk_sent + peer->script.unit_bytes + 4096 > peer->s.bulk_allowed)
      return;
    answer_first(peer, (peer->script.faults & PEER_DROP_ODD) && pending.frame % 2 == 1);
  }
}

static void on_attach(Peer *peer, const vsockenc_Attach *attach) {
  guint64 bit = attach->buffer < 64 ? G_GUINT64_CONSTANT(1) << attach->buffer : 0;
  peer->counts.attaches++;
  peer->counts.attach = *attach;
  if (!bit || (peer->s.attached & bit)) peer->counts.violations++;
  if (peer->script.faults & PEER_NO_ATTACHED) return;
  gboolean inlined = attach->planes[0].resource == 0;
  if ((peer->script.faults & PEER_REFUSE_BUFFERS) ||
      (!inlined && (peer->script.faults & PEER_NO_RESOURCES))) {
    /* The guest may send frames with the buffer before it has this answer. */
    peer->s.refused |= bit;
    refuse(peer, vsockenc_ErrorSubject_BUFFER, attach->buffer, "no exporter");
    return;
  }
  peer->s.attached |= bit;
  peer->s.inlined = inlined ? peer->s.inlined | bit : peer->s.inlined & ~bit;
  peer->counts.attached++;
  peer->counts.most_attached = MAX(peer->counts.most_attached, peer->counts.attached);
  vsockenc_Attached *attached = &begin(peer, vsockenc_MessageType_ATTACHED)->u.attached;
  attached->buffer = attach->buffer;
  attached->tier = inlined                             ? vsockenc_SourceTier_INLINE
                   : peer->script.faults & PEER_GATHER ? vsockenc_SourceTier_RESOURCE_GATHER
                   : peer->script.faults & PEER_READ   ? vsockenc_SourceTier_RESOURCE_READ
                                                       : vsockenc_SourceTier_RESOURCE;
  attached->runs = inlined ? 0 : 3;
  finish(peer);
}

static void on_detach(Peer *peer, guint buffer) {
  guint64 bit = buffer < 64 ? G_GUINT64_CONSTANT(1) << buffer : 0;
  if (!(peer->s.attached & bit)) peer->counts.violations++;
  peer->s.attached &= ~bit;
  peer->counts.attached--;
  for (guint i = 0; i < peer->pending->len; i++)
    if (g_array_index(peer->pending, Pending, i).buffer == buffer) peer->counts.violations++;
}

static Pending *last_pending(Peer *peer) {
  guint n = peer->pending->len;
  return n > 0 ? &g_array_index(peer->pending, Pending, n - 1) : NULL;
}

static void on_frame(Peer *peer, const vsockenc_Frame *frame) {
  Pending pending = {
      .frame = frame->frame,
      .buffer = frame->buffer,
      .key = peer->s.first || peer->key_next || frame->force_key,
      .missing = frame->inline_bytes,
  };
  const Pending *last = last_pending(peer);
  peer->counts.frames++;
  if (frame->force_key) peer->counts.forced++;
  if (!is_after(frame->frame, peer->s.last_frame) ||
      (!peer->s.first && frame->pts_ns <= peer->s.last_pts) || frame->buffer >= 64 ||
      !((peer->s.attached | peer->s.refused) >> frame->buffer & 1) ||
      frame->configuration != peer->s.serial)
    peer->counts.violations++;
  /* Inline buffers have pixels, others have none, and all arrive before the next frame. */
  if ((frame->inline_bytes > 0) != (gboolean)(peer->s.inlined >> frame->buffer & 1) ||
      (last && last->missing > 0))
    peer->counts.violations++;
  if (frame->inline_bytes > 0) peer->counts.frames_inline++;
  if (peer->early_missing > 0) peer->counts.violations++;
  peer->pixel_crc = (guint32)crc32(0, NULL, 0);
  peer->pixel_offset = 0;
  peer->s.first = peer->key_next = FALSE;
  peer->s.last_frame = frame->frame;
  peer->s.last_pts = frame->pts_ns;
  g_array_append_val(peer->pending, pending);
  peer->counts.most_in_flight = MAX(peer->counts.most_in_flight, peer->pending->len);
  if (frame->inline_bytes > 0 && (peer->script.faults & PEER_EARLY_DROP)) {
    peer->early_frame = frame->frame;
    peer->early_missing = frame->inline_bytes;
    answer_first(peer, TRUE);
  }
}

static void on_data(Peer *peer, const VencData *data) {
  if (peer->early_missing > 0) {
    if (data->frame != peer->early_frame || data->size > peer->early_missing)
      peer->counts.violations++;
    peer->early_missing -= (guint32)MIN(data->size, peer->early_missing);
    return;
  }
  Pending *last = last_pending(peer);
  if (!last || last->frame != data->frame || data->size == 0 || data->size > last->missing ||
      data->offset != peer->pixel_offset) {
    peer->counts.violations++;
    return;
  }
  peer->pixel_crc = (guint32)crc32(peer->pixel_crc, data->bytes, (uInt)data->size);
  peer->pixel_offset += (guint32)data->size;
  last->missing -= (guint32)data->size;
  peer->counts.pixel_bytes += data->size;
  if (last->missing == 0) peer->counts.last_crc = peer->pixel_crc;
}

static void on_probe(Peer *peer, guint buffer) {
  if (!(peer->s.attached >> buffer & 1)) peer->counts.violations++;
  vsockenc_Probed *probed = &begin(peer, vsockenc_MessageType_PROBED)->u.probed;
  probed->buffer = buffer;
  gboolean inlined = peer->s.inlined >> buffer & 1;
  probed->crc = inlined ? peer->counts.last_crc : peer->script.probe_crc;
  probed->bytes = inlined ? peer->pixel_offset : peer->script.probe_bytes;
  finish(peer);
}

static void send_credit(Peer *peer) {
  if (peer->script.faults & PEER_NO_CREDIT) return;
  peer->s.bulk_granted = peer->s.bulk_received + VSOCKENC_GUEST_WINDOW_BYTES;
  begin(peer, vsockenc_MessageType_CREDIT)->u.credit.granted_bytes = peer->s.bulk_granted;
  finish(peer);
}

static void on_message(Peer *peer, const VencMessage *message) {
  if (message->header.type == vsockenc_MessageType_HELLO) {
    on_hello(peer, message);
    return;
  }
  if (message->header.epoch != peer->s.epoch) return;
  if (message->header.sequence != ++peer->s.sequence_in) peer->counts.violations++;
  switch (message->header.type) {
    case vsockenc_MessageType_PING:
      begin(peer, vsockenc_MessageType_PONG)->u.pong.token = message->u.ping.token;
      finish(peer);
      break;
    case vsockenc_MessageType_BYE:
      peer->s.epoch = 0;
      break;
    case vsockenc_MessageType_CREDIT:
      peer->s.bulk_allowed = MAX(peer->s.bulk_allowed, message->u.credit.granted_bytes);
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
    case vsockenc_MessageType_DATA:
      peer->s.bulk_received += message->wire_bytes;
      if (peer->s.bulk_received > peer->s.bulk_granted) peer->counts.violations++;
      if (message->header.type == vsockenc_MessageType_FRAME)
        on_frame(peer, &message->u.frame);
      else
        on_data(peer, &message->u.data);
      send_credit(peer);
      break;
    case vsockenc_MessageType_PROBE:
      on_probe(peer, message->u.probe.buffer);
      break;
    case vsockenc_MessageType_DRAIN:
      peer->counts.drains++;
      break;
    case vsockenc_MessageType_FLUSH:
    case vsockenc_MessageType_ERROR:
      break;
    default:
      peer->counts.violations++;
  }
}

static void hang_up(Peer *peer) {
  if (peer->client >= 0) close(peer->client);
  peer->client = -1;
  peer->s.epoch = 0;
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
    if (result == VENC_WIRE_MESSAGE &&
        !(peer->script.faults & (PEER_DEAF | PEER_OLDER | PEER_OLDER_ONCE)))
      on_message(peer, &peer->in);
    if (peer->script.hang_up_after > 0 && --peer->script.hang_up_after == 0) hang_up(peer);
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
      peer->greet_at = 0;
      for (guint i = 0; i < 20 && (peer->script.faults & PEER_LEFTOVERS); i++) greet_as_older(peer);
    } else if (fds[2].revents) {
      read_client(peer);
    }
    if (peer->client >= 0) answer(peer);
    gint64 now = g_get_monotonic_time();
    if (peer->client >= 0 && (peer->script.faults & (PEER_OLDER | PEER_OLDER_ONCE)) &&
        now >= peer->greet_at) {
      greet_as_older(peer);
      peer->greet_at = peer->script.faults & PEER_OLDER_ONCE
                           ? G_MAXINT64
                           : now + VSOCKENC_GREETING_INTERVAL_MS * G_TIME_SPAN_MILLISECOND;
    }
  }
  hang_up(peer);
  g_mutex_unlock(&peer->lock);
  return NULL;
}

static const vsockenc_EncoderOffer EVERYTHING[] = {
    {.name = "peer",
     .codec = vsockenc_Codec_H264,
     .profiles_count = 3,
     .profiles = {vsockenc_Profile_H264_CONSTRAINED_BASELINE, vsockenc_Profile_H264_MAIN,
                  vsockenc_Profile_H264_HIGH}},
    {.name = "peer-hevc",
     .codec = vsockenc_Codec_H265,
     .profiles_count = 1,
     .profiles = {vsockenc_Profile_H265_MAIN}},
};

static Peer *listen_at(int family, const struct sockaddr *address, socklen_t size, guint faults) {
  Peer *peer = g_new0(Peer, 1);
  g_mutex_init(&peer->lock);
  peer->boot_id = g_random_int();
  peer->client = -1;
  peer->script = (PeerScript){.faults = faults,
                              .unit_bytes = 100,
                              .offers = EVERYTHING,
                              .n_offers = G_N_ELEMENTS(EVERYTHING)};
  peer->pending = g_array_new(FALSE, FALSE, sizeof(Pending));
  peer->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  peer->listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(peer->listener, address, size) != 0 || listen(peer->listener, 8) != 0)
    g_error("peer: %s", g_strerror(errno));
  peer->thread = g_thread_new("peer", run, peer);
  return peer;
}

Peer *peer_new(const gchar *path, guint faults) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  g_strlcpy(address.sun_path, path, sizeof address.sun_path);
  return listen_at(AF_UNIX, (const struct sockaddr *)&address, sizeof address, faults);
}

Peer *peer_new_tcp(guint16 *port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof address;
  Peer *peer = listen_at(AF_INET, (const struct sockaddr *)&address, sizeof address, 0);
  getsockname(peer->listener, (struct sockaddr *)&address, &size);
  *port = ntohs(address.sin_port);
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
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&peer->lock);
  hang_up(peer);
}

PeerScript *peer_lock(Peer *peer) {
  g_mutex_lock(&peer->lock);
  return &peer->script;
}

void peer_unlock(Peer *peer) {
  g_mutex_unlock(&peer->lock);
}

void peer_grant(Peer *peer) {
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&peer->lock);
  send_credit(peer);
}

PeerCounts peer_counts(Peer *peer) {
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&peer->lock);
  return peer->counts;
}

gboolean peer_renumber(Peer *peer, const PeerNumbers *expected, const PeerNumbers *numbers) {
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&peer->lock);
  Session *s = &peer->s;
  const PeerNumbers present = {s->sequence_out, s->sequence_in, s->last_frame, s->serial};
  if (memcmp(&present, expected, sizeof present) != 0) return FALSE;
  s->sequence_out = numbers->to_guest;
  s->sequence_in = numbers->from_guest;
  s->last_frame = numbers->frame;
  s->serial = numbers->serial;
  return TRUE;
}
