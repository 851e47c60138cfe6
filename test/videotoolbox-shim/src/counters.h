// What vt_shim_get_counters shows, while it is being counted.
#pragma once

#include <atomic>
#include <cstdint>

namespace vt_shim {

struct Counters {
  std::atomic<uint64_t> sessions_created = 0;
  std::atomic<uint64_t> sessions_refused = 0;
  std::atomic<uint64_t> frames_submitted = 0;
  std::atomic<uint64_t> frames_encoded = 0;
  std::atomic<uint64_t> frames_dropped = 0;
  std::atomic<uint64_t> frames_failed = 0;
  std::atomic<uint64_t> frames_discarded = 0;
  std::atomic<uint64_t> key_frames = 0;
  std::atomic<uint64_t> forced_key_frames = 0;
  std::atomic<uint64_t> untagged_frames = 0;
  std::atomic<uint64_t> converted_frames = 0;
  std::atomic<uint64_t> properties_set = 0;
  std::atomic<uint64_t> properties_refused = 0;
  std::atomic<uint64_t> transfers = 0;
  std::atomic<uint64_t> encoding_ns = 0;
};

Counters &Count();

}  // namespace vt_shim
