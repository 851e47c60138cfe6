#include "ladder.h"

#include <vector>

#include "status.h"

namespace vsockenc::vt {
namespace {

const char *Name(Rung rung) {
  return rung == Rung::kLowLatency ? "low-latency rate control" : "hardware encoder";
}

}  // namespace

// Of the H.264 profiles, low-latency rate control supports only High.
Ladder::Ladder(const Settings &settings)
    : first_(settings.codec == Codec::kHevc || settings.profile == Profile::kHigh
                 ? Rung::kLowLatency
                 : Rung::kHardware) {}

std::unique_ptr<CompressionSession> Ladder::Climb(const Settings &settings,
                                                  Outputs &outputs) const {
  std::string tried;
  OSStatus status = kVTCouldNotFindVideoEncoderErr;
  for (const Rung rung : {Rung::kLowLatency, Rung::kHardware}) {
    if (rung < first_) continue;
    try {
      return std::make_unique<CompressionSession>(settings, rung, outputs);
    } catch (const VideoToolboxError &error) {
      tried += std::string(tried.empty() ? "" : "; ") + Name(rung) + ": " + error.what();
      // A busy encoder determines the status: waiting for it may help.
      if (RemedyFor(status) != Remedy::kWait) status = error.status();
    }
  }
  throw VideoToolboxError(status, "VideoToolbox has no hardware encoder for this (" + tried + ")");
}

bool Ladder::Leave(Rung rung) {
  if (rung == Rung::kHardware) return false;
  first_ = Rung::kHardware;
  return true;
}

std::string Describe(const CompressionSession &session) {
  const EncoderReport &report = session.report();
  std::string text = Name(session.rung());
  text += ", encoder " + (report.encoder_id.empty() ? "unnamed" : report.encoder_id);
  text += report.hardware ? ", hardware" : ", hardware not reported";
  // Only this ending identifies low-latency encoders.
  if (session.rung() == Rung::kLowLatency && !report.encoder_id.ends_with("rtvc")) {
    text += ", low latency not confirmed";
  }
  for (size_t i = 0; i < report.refused.size(); ++i) {
    text += (i == 0 ? "; refused: " : ", ") + report.refused[i];
  }
  return text;
}

}  // namespace vsockenc::vt
