#pragma once

#include <cstdint>

namespace vsockenc {

// Memory of this process for pixels that cannot be read in place: where a gathered picture is
// copied together, and where inline pixels arrive.
//
// How much of it there is depends on what guests ask for, so both one area and all areas of the
// process together are bounded. It is zero at first: what is not written holds nothing of the
// host's.
class Staging {
 public:
  // Of one area: H.264 and H.265 have no picture above 139,264 macroblocks, which is 143 MB of four
  // bytes a pixel; the rest is room for padded rows.
  static constexpr uint64_t kMaxBytes = uint64_t{256} << 20;
  // Of all areas.
  static constexpr uint64_t kBudget = uint64_t{1} << 30;

  Staging() = default;
  ~Staging();
  Staging(const Staging &) = delete;
  Staging &operator=(const Staging &) = delete;

  // At least `bytes` bytes, at an address that stays until more are asked for. What they held may
  // be lost. Throws PictureError.
  uint8_t *Reserve(uint64_t bytes);

  // Throws PictureError unless an area may have that size.
  static void CheckSize(uint64_t bytes);

  // Bytes of all areas.
  static uint64_t BytesInUse();

 private:
  void Free();

  uint8_t *data_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace vsockenc
