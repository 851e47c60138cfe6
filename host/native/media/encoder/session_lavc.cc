#include "session_lavc.h"

#include <exception>
#include <utility>

#include "../memory/picture_error.h"

extern "C" {
#include <libavcodec/packet.h>
}

namespace vsockenc {
namespace {

const Picture &PictureOf(const FrameSource &source) {
  if (const auto *picture = std::get_if<std::shared_ptr<const Picture>>(&source)) return **picture;
  throw PictureError(PictureFault::kUnsupportedFormat,
                     "libavcodec's encoders do not read IOSurfaces");
}

AccessUnit UnitOf(PacketPointer packet) {
  const std::span<const uint8_t> bytes(packet->data, static_cast<size_t>(packet->size));
  const bool key = (packet->flags & AV_PKT_FLAG_KEY) != 0;
  return {.bytes = bytes, .owner = std::shared_ptr<AVPacket>(std::move(packet)), .key = key};
}

}  // namespace

LavcSessionEncoder::LavcSessionEncoder(const EncoderSettings &settings, EncoderSink &sink)
    : sink_(sink),
      converter_(settings.colour.full_range),
      encoder_(settings),
      keyframes_(settings.keyframe_interval) {}

void LavcSessionEncoder::Encode(FrameRequest request) {
  const auto started = FrameClock::now();
  bool read = false;
  const auto let_go = [&] {
    if (std::exchange(read, true)) return;
    request.source = {};
    sink_.OnRead(request.frame);
  };
  try {
    converter_.Convert(PictureOf(request.source).Read(staging_), encoder_.WritableFrame());
    const auto converted = FrameClock::now();
    let_go();
    const auto given = FrameClock::now();
    AccessUnit unit = UnitOf(encoder_.Encode(keyframes_.Due(request.force_key)));
    keyframes_.Count(unit.key);
    sink_.OnPacket(request.frame, std::move(unit),
                   {
                       .queue_us = Microseconds(started - request.queued),
                       .convert_us = Microseconds(converted - started),
                       .encode_us = Microseconds(FrameClock::now() - given),
                   });
  } catch (const PictureError &error) {
    // The encoder has seen nothing of it, so the stream can go on with the next one.
    let_go();
    sink_.OnFrameFailed(request.frame, error.what());
  } catch (const std::exception &error) {
    let_go();
    sink_.OnFrameFailed(request.frame, error.what());
    failure_ = error.what();
  }
}

void LavcSessionEncoder::SetRates(const Rates &rates, int keyframe_interval) {
  keyframes_.SetInterval(keyframe_interval);
  try {
    encoder_.SetRates(rates);
  } catch (const std::exception &error) {
    failure_ = error.what();
  }
}

EncoderFactory OpenLavc(EncoderSettings settings) {
  return [settings = std::move(settings)](EncoderSink &sink) {
    return std::make_unique<LavcSessionEncoder>(settings, sink);
  };
}

}  // namespace vsockenc
