/* The scripted relay's buffers and frames. */
#include <string.h>
#include <zlib.h>

#include "peer-private.h"

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
    g_byte_array_append(unit, vector->sets, (guint)vector->sets_size);
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
  vsockenc_Packet *packet = &peer_begin(peer, vsockenc_MessageType_PACKET)->u.packet;
  packet->frame = pending->frame + (peer->script.faults & PEER_FOREIGN_FRAME ? 1000 : 0);
  packet->size = peer->script.faults & PEER_HUGE_UNIT ? G_MAXUINT32 : unit->len;
  packet->key = pending->key;
  packet->queue_us = 10;
  packet->encode_us = 1000;
  peer_finish(peer);
  for (guint at = 0; at < unit->len;) {
    guint size = MIN(unit->len - at, 30000u);
    VencData *data = &peer_begin(peer, vsockenc_MessageType_DATA)->u.data;
    data->frame = pending->frame;
    data->offset = at + (peer->script.faults & PEER_WRONG_OFFSET ? 1 : 0);
    data->bytes = unit->data + at;
    data->size = size;
    peer_finish(peer);
    at += size;
  }
}

/* FrameDone and Dropped for the first pending frame. */
static void drop_first(Peer *peer) {
  guint32 frame = g_array_index(peer->pending, Pending, 0).frame;
  peer_begin(peer, vsockenc_MessageType_FRAME_DONE)->u.frame_done.frame = frame;
  peer_finish(peer);
  vsockenc_Dropped *dropped = &peer_begin(peer, vsockenc_MessageType_DROPPED)->u.dropped;
  dropped->frame = frame;
  dropped->reason = vsockenc_DropReason_ENCODER_DROPPED;
  peer_finish(peer);
  g_array_remove_index(peer->pending, 0);
}

void peer_answer(Peer *peer) {
  while (peer->pending->len > 0 && !(peer->script.faults & PEER_NO_ANSWERS)) {
    Pending pending = g_array_index(peer->pending, Pending, 0);
    /* Units larger than the window are not supported. */
    if (pending.missing > 0 ||
        peer->bulk_sent + peer->script.unit_bytes + 4096 > peer->bulk_allowed)
      return;
    if ((peer->script.faults & PEER_DROP_ODD) && pending.frame % 2 == 1) {
      drop_first(peer);
      continue;
    }
    peer_begin(peer, vsockenc_MessageType_FRAME_DONE)->u.frame_done.frame = pending.frame;
    peer_finish(peer);
    send_unit(peer, &pending);
    g_array_remove_index(peer->pending, 0);
  }
}

void peer_on_attach(Peer *peer, const vsockenc_Attach *attach) {
  guint64 bit = attach->buffer < 64 ? G_GUINT64_CONSTANT(1) << attach->buffer : 0;
  peer->counts.attaches++;
  peer->counts.attach = *attach;
  if (!bit || (peer->attached & bit)) peer->counts.violations++;
  if (peer->script.faults & PEER_NO_ATTACHED) return;
  gboolean inlined = attach->planes[0].resource == 0;
  if ((peer->script.faults & PEER_REFUSE_BUFFERS) ||
      (!inlined && (peer->script.faults & PEER_NO_RESOURCES))) {
    /* The guest may send frames with the buffer before it has this answer. */
    peer->refused |= bit;
    vsockenc_Error *error = &peer_begin(peer, vsockenc_MessageType_ERROR)->u.error;
    error->code = vsockenc_ErrorCode_NO_EXPORTER;
    error->subject = vsockenc_ErrorSubject_BUFFER;
    error->id = attach->buffer;
    g_strlcpy(error->text, "no exporter", sizeof error->text);
    peer_finish(peer);
    return;
  }
  peer->attached |= bit;
  peer->inlined = inlined ? peer->inlined | bit : peer->inlined & ~bit;
  peer->counts.attached++;
  peer->counts.most_attached = MAX(peer->counts.most_attached, peer->counts.attached);
  vsockenc_Attached *attached = &peer_begin(peer, vsockenc_MessageType_ATTACHED)->u.attached;
  attached->buffer = attach->buffer;
  attached->tier = inlined                             ? vsockenc_SourceTier_INLINE
                   : peer->script.faults & PEER_GATHER ? vsockenc_SourceTier_RESOURCE_GATHER
                                                       : vsockenc_SourceTier_RESOURCE;
  attached->runs = inlined ? 0 : 3;
  peer_finish(peer);
}

void peer_on_detach(Peer *peer, guint buffer) {
  guint64 bit = buffer < 64 ? G_GUINT64_CONSTANT(1) << buffer : 0;
  if (!(peer->attached & bit)) peer->counts.violations++;
  peer->attached &= ~bit;
  peer->counts.attached--;
  for (guint i = 0; i < peer->pending->len; i++)
    if (g_array_index(peer->pending, Pending, i).buffer == buffer) peer->counts.violations++;
}

void peer_on_frame(Peer *peer, const vsockenc_Frame *frame) {
  Pending pending = {
      .frame = frame->frame,
      .buffer = frame->buffer,
      .key = peer->first || peer->key_next || frame->force_key,
      .missing = frame->inline_bytes,
  };
  peer->counts.frames++;
  if (frame->force_key) peer->counts.forced++;
  if (frame->frame <= peer->last_frame || (!peer->first && frame->pts_ns <= peer->last_pts) ||
      frame->buffer >= 64 || !((peer->attached | peer->refused) >> frame->buffer & 1) ||
      frame->configuration != peer->serial)
    peer->counts.violations++;
  /* Inline buffers have pixels, others have none, and all arrive before the next frame. */
  if ((frame->inline_bytes > 0) != (gboolean)(peer->inlined >> frame->buffer & 1) ||
      (peer->pending->len > 0 &&
       g_array_index(peer->pending, Pending, peer->pending->len - 1).missing > 0))
    peer->counts.violations++;
  if (frame->inline_bytes > 0) peer->counts.frames_inline++;
  if (peer->early_missing > 0) peer->counts.violations++;
  peer->pixel_crc = (guint32)crc32(0, NULL, 0);
  peer->pixel_offset = 0;
  peer->first = peer->key_next = FALSE;
  peer->last_frame = frame->frame;
  peer->last_pts = frame->pts_ns;
  g_array_append_val(peer->pending, pending);
  peer->counts.most_in_flight = MAX(peer->counts.most_in_flight, peer->pending->len);
  if (frame->inline_bytes > 0 && (peer->script.faults & PEER_EARLY_DROP)) {
    peer->early_frame = frame->frame;
    peer->early_missing = frame->inline_bytes;
    drop_first(peer);
  }
}

void peer_on_data(Peer *peer, const VencData *data) {
  if (peer->early_missing > 0) {
    if (data->frame != peer->early_frame || data->size > peer->early_missing)
      peer->counts.violations++;
    peer->early_missing -= (guint32)MIN(data->size, peer->early_missing);
    return;
  }
  Pending *last = peer->pending->len > 0
                      ? &g_array_index(peer->pending, Pending, peer->pending->len - 1)
                      : NULL;
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

void peer_on_probe(Peer *peer, guint buffer) {
  if (!(peer->attached >> buffer & 1)) peer->counts.violations++;
  vsockenc_Probed *probed = &peer_begin(peer, vsockenc_MessageType_PROBED)->u.probed;
  probed->buffer = buffer;
  gboolean inlined = peer->inlined >> buffer & 1;
  probed->crc = inlined ? peer->counts.last_crc : peer->script.probe_crc;
  probed->bytes = inlined ? peer->pixel_offset : peer->script.probe_bytes;
  peer_finish(peer);
}
