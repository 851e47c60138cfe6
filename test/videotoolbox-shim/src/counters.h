// The counters of vt_shim.h, while they are counted.
#pragma once

#include <atomic>

#include "vt_shim.h"

namespace vt_shim {

#define VT_SHIM_ATOMIC(name) std::atomic<uint64_t> name = 0;
struct Counters {
  VT_SHIM_COUNTERS(VT_SHIM_ATOMIC)
};

Counters &Count();

}  // namespace vt_shim
