// Parameter sets and access units of an encoder that is not trusted (a driver's). The first byte
// chooses: even, the rest is one sequence parameter set; odd, an access unit in Annex B. The second
// has the options of two VUIs. What was rewritten must be parsed, and rewritten into itself; and
// what becomes of a parameter set must not depend on a VUI that it had before.

#include <cstdlib>
#include <optional>

#include "bitstream/sps_vui.h"

namespace {

void Require(bool truth) {
  if (!truth) std::abort();
}

vsockenc::H264Vui Vui(uint8_t options) {
  std::optional<vsockenc::Fraction> framerate;
  if ((options & 1) != 0) framerate = {60000, 1001};
  return {{(options & 2) != 0 ? 4 : 1, (options & 2) != 0 ? 3 : 1},
          {1, 1, (options & 4) != 0 ? 0 : 1, (options & 4) != 0},
          (options & 8) != 0 ? 2 : 0,
          framerate};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  const vsockenc::H264Vui vui = Vui(data[1]);
  const vsockenc::H264Vui other = Vui(data[1] >> 4);
  const std::span<const uint8_t> bytes(data + 2, size - 2);
  if (data[0] % 2 == 0) {
    const auto once = vsockenc::RewriteSps(bytes, vui);
    if (!once) return 0;
    const auto twice = vsockenc::RewriteSps(*once, vui);
    Require(twice.has_value());
    Require(*twice == *once);
    Require(vsockenc::RewriteSps(*once, other) == vsockenc::RewriteSps(bytes, other));
  } else {
    const auto once = vsockenc::RewriteAccessUnit(bytes, vui);
    if (once) Require(!vsockenc::RewriteAccessUnit(*once, vui).has_value());
  }
  return 0;
}
