#include "ladder.h"

#include <vector>

#include "status.h"

namespace vsockenc::vt {
namespace {

const char *Name(Rung rung) {
  return rung == Rung::kLowLatency ? "low-latency rate control" : "hardware encoder";
}

}  // namespace

// Low-latency rate control knows High alone among the profiles of H.264 that one can ask for.
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
      // A rung whose encoder is only busy decides: waiting for it may help.
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
  text += report.hardware ? ", hardware" : ", does not tell whether it is hardware";
  // Low-latency encoders are told by this ending alone.
  if (session.rung() == Rung::kLowLatency && !report.encoder_id.ends_with("rtvc")) {
    text += ", not known to be of low latency";
  }
  for (size_t i = 0; i < report.refused.size(); ++i) {
    text += (i == 0 ? "; not taken: " : ", ") + report.refused[i];
  }
  return text;
}

}  // namespace vsockenc::vt
