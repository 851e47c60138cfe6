#pragma once

#include <cstdint>

namespace vsockenc {

// What rate control keeps: StreamPlan of host/encoders/plan.ts says why so.
struct Rates {
  int64_t bits_per_second;       // on average
  int64_t peak_bits_per_second;  // over the buffer
  int buffer_bits;               // of the decoder's buffer for coded pictures (VBV)

  bool operator==(const Rates &) const = default;
};

}  // namespace vsockenc
