#include "peer.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "peer-private.h"

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

VencMessage *peer_begin(Peer *peer, vsockenc_MessageType type) {
  memset(&peer->out, 0, sizeof peer->out);
  peer->out.header.type = (guint8)type;
  peer->out.header.epoch = peer->epoch;
  return &peer->out;
}

void peer_finish(Peer *peer) {
  /* Half a magic, and a magic with an unknown version; a complete false header could hide a
   * message. */
  static const guint8 noise[] = {'V', 'E', 'N', 0, 0xff, 'V', 'E', 'N', 'C', 9, 0xff};
  guint8 bytes[VSOCKENC_MAX_MESSAGE_BYTES];
  guint8 type = peer->out.header.type;
  if (type != vsockenc_MessageType_WELCOME && type != vsockenc_MessageType_GREETING)
    peer->out.header.sequence = ++peer->sequence_out;
  if (peer->script.faults & PEER_NOISE) write_all(peer, noise, sizeof noise);
  gsize size = venc_wire_encode(&peer->out, bytes, sizeof bytes);
  if (type == vsockenc_MessageType_PACKET || type == vsockenc_MessageType_DATA)
    peer->bulk_sent += size;
  write_all(peer, bytes, size);
}

static void on_hello(Peer *peer, const VencMessage *message) {
  if (message->header.epoch != peer->epoch) {
    peer->epoch = message->header.epoch;
    peer->sequence_in = peer->sequence_out = 0;
    peer->bulk_sent = peer->bulk_received = 0;
    peer->bulk_allowed = message->u.hello.window_bytes;
    peer->bulk_granted = VSOCKENC_GUEST_WINDOW_BYTES;
    peer->attached = peer->refused = peer->inlined = 0;
    peer->counts.attached = 0;
    peer->last_frame = peer->serial = 0;
    peer->last_pts = 0;
    peer->first = TRUE;
    g_array_set_size(peer->pending, 0);
  }
  vsockenc_Welcome *welcome = &peer_begin(peer, vsockenc_MessageType_WELCOME)->u.welcome;
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
  peer_finish(peer);
}

/* The lowest level that the guest allows and the vectors need; 0: none. */
static guint choose_level(const Peer *peer, const vsockenc_Configure *configure) {
  guint level = peer->vector->sets[peer->vector->level_at], best = 0;
  if (configure->levels_count == 0) return level;
  for (guint i = 0; i < configure->levels_count; i++)
    if (configure->levels[i] >= level && (!best || configure->levels[i] < best))
      best = configure->levels[i];
  return best;
}

static void refuse(Peer *peer, const vsockenc_Configure *configure, const gchar *text) {
  vsockenc_Error *error = &peer_begin(peer, vsockenc_MessageType_ERROR)->u.error;
  error->code = vsockenc_ErrorCode_ENCODER_UNAVAILABLE;
  error->subject = vsockenc_ErrorSubject_CONFIGURATION;
  error->id = configure->serial;
  g_strlcpy(error->text, text, sizeof error->text);
  peer_finish(peer);
}

static void on_configure(Peer *peer, const vsockenc_Configure *configure) {
  peer->counts.configures++;
  peer->counts.configure = *configure;
  if (configure->serial <= peer->serial) peer->counts.violations++;
  peer->serial = configure->serial;
  if (peer->script.faults & PEER_NO_CONFIGURED) return;
  if ((peer->script.faults & PEER_REFUSE) ||
      ((peer->script.faults & PEER_REFUSE_ODD) && configure->bitrate_kbps % 2 == 1)) {
    refuse(peer, configure, "the peer rejects it");
    return;
  }
  const Vector *before = peer->vector;
  peer->vector = vector_find(configure->codec, configure->profile, (configure->width + 1) & ~1u);
  peer->level = peer->vector ? choose_level(peer, configure) : 0;
  if (peer->level == 0) {
    refuse(peer, configure, "the peer has no such level");
    return;
  }
  if (peer->vector != before) peer->key_next = TRUE;
  vsockenc_Configured *configured =
      &peer_begin(peer, vsockenc_MessageType_CONFIGURED)->u.configured;
  configured->serial = configure->serial;
  g_strlcpy(configured->encoder, "peer", sizeof configured->encoder);
  configured->width = (configure->width + 1) & ~1u;
  configured->height = (configure->height + 1) & ~1u;
  /* The host's choice where the guest leaves it open. */
  configured->bitrate_kbps = configure->bitrate_kbps ? configure->bitrate_kbps : 777;
  configured->keyframe_interval = configure->keyframe_interval;
  configured->has_colorimetry = true;
  configured->colorimetry = (vsockenc_Colorimetry){.primaries = 1, .transfer = 1, .matrix = 1};
  peer_finish(peer);
}

static void send_credit(Peer *peer) {
  if (peer->script.faults & PEER_NO_CREDIT) return;
  peer->bulk_granted = peer->bulk_received + VSOCKENC_GUEST_WINDOW_BYTES;
  peer_begin(peer, vsockenc_MessageType_CREDIT)->u.credit.granted_bytes = peer->bulk_granted;
  peer_finish(peer);
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
      peer_begin(peer, vsockenc_MessageType_PONG)->u.pong.token = message->u.ping.token;
      peer_finish(peer);
      break;
    case vsockenc_MessageType_BYE:
      peer->epoch = 0;
      break;
    case vsockenc_MessageType_CREDIT:
      peer->bulk_allowed = MAX(peer->bulk_allowed, message->u.credit.granted_bytes);
      break;
    case vsockenc_MessageType_CONFIGURE:
      on_configure(peer, &message->u.configure);
      break;
    case vsockenc_MessageType_ATTACH:
      peer_on_attach(peer, &message->u.attach);
      break;
    case vsockenc_MessageType_DETACH:
      peer_on_detach(peer, message->u.detach.buffer);
      break;
    case vsockenc_MessageType_FRAME:
    case vsockenc_MessageType_DATA:
      peer->bulk_received += message->wire_bytes;
      if (peer->bulk_received > peer->bulk_granted) peer->counts.violations++;
      if (message->header.type == vsockenc_MessageType_FRAME)
        peer_on_frame(peer, &message->u.frame);
      else
        peer_on_data(peer, &message->u.data);
      send_credit(peer);
      break;
    case vsockenc_MessageType_PROBE:
      peer_on_probe(peer, message->u.probe.buffer);
      break;
    case vsockenc_MessageType_DRAIN:
      peer->counts.drains++;
      break;
    case vsockenc_MessageType_FLUSH:
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
    if (result == VENC_WIRE_MESSAGE && !(peer->script.faults & PEER_DEAF))
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
    } else if (fds[2].revents) {
      read_client(peer);
    }
    if (peer->client >= 0) peer_answer(peer);
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
