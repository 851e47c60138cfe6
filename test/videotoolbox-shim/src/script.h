// The script: which events fail or behave unusually. README.md explains the rules.
#pragma once

#include <CoreFoundation/CoreFoundation.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace vt_shim {

// Which of the numbered events, counted from 1: "7" one, "7+" it and all after it, "7-9", "%3" each
// third, "*" all.
struct Pattern {
  uint64_t first = 0;
  uint64_t last = UINT64_MAX;
  uint64_t every = 1;
  bool Matches(uint64_t number) const {
    return number >= first && number <= last && (every == 1 || number % every == 0);
  }
};

// The outcome of one frame.
struct FramePlan {
  enum class Outcome { kEncode, kNullSample, kDropped, kFail };
  Outcome outcome = Outcome::kEncode;
  OSStatus status = noErr;         // of kFail
  OSStatus return_status = noErr;  // of EncodeFrame
  bool callback = true;            // false: none for this frame
  bool early = false;              // the callback comes before EncodeFrame returns
  bool silent = false;             // the session calls back no more from here on
  bool malformed = false;          // the sample lacks its last byte
  int block_ms = 0;                // EncodeFrame takes at least that long
  int delay_ms = 1;                // from submission to encoding
};

// A session's answers to its creation and its queries.
struct SessionPlan {
  std::vector<std::pair<std::string, std::string>> unsupported;  // end of encoder id, key
  std::vector<std::string> unset_keys;                           // CopyProperty: noErr with NULL
  OSStatus refusal = noErr;                                      // of the creation
  OSStatus no_llrc = noErr;  // creation with low-latency rate control
  bool no_hardware = false;
  int macos = 15;
  int max_width = 0;  // 0: the encoder's own limit
  int max_height = 0;
  bool invalidate_flushes = false;
  unsigned pending_limit = 8;
  int patience_ms = 10000;  // how long a callback may keep others waiting
  bool reads_input = true;  // compares checksums of a frame's pixels
};

// The shape of a sample.
struct SamplePlan {
  enum class NotSync { kAbsent, kFalse, kNoArray };
  size_t piece_size = 0;  // of block buffers; 0: one piece
  int nal_length_size = 4;
  size_t extra_sets = 0;  // picture parameter sets beside the encoder's own
  NotSync not_sync = NotSync::kAbsent;
  std::optional<bool> valid_dts;  // by default valid only with frame reordering
};

// Each Next… counts one event.
FramePlan NextFramePlan();
SessionPlan NextSessionPlan();
SessionPlan CurrentSessionPlan();  // counts nothing
SamplePlan CurrentSamplePlan();
OSStatus NextTransferStatus();
bool NextLookupFails();
int32_t NextPoolStatus();

}  // namespace vt_shim
