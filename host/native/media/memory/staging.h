#pragma once

#include <cstdint>

namespace vsockenc {

// Memory for pixels that cannot be read in place: a gathered picture is copied together in it, and
// inline pixels arrive in it.
//
// Guests decide how much of it is needed, so each area and the sum of all areas of the process are
// limited. It starts as zeros: unwritten bytes hold no data of the host.
class Staging {
 public:
  // Limit of one area: H.264 and H.265 allow 139,264 macroblocks a picture, which is 143 MB at four
  // bytes a pixel; the rest allows for padded rows.
  static constexpr uint64_t kMaxBytes = uint64_t{256} << 20;
  // Limit of all areas together.
  static constexpr uint64_t kBudget = uint64_t{1} << 30;

  Staging() = default;
  ~Staging();
  Staging(const Staging &) = delete;
  Staging &operator=(const Staging &) = delete;

  // Returns at least `bytes` bytes, at an address that stays until more are reserved; their content
  // may be lost. Throws PictureError.
  uint8_t *Reserve(uint64_t bytes);

  // Throws PictureError if the size exceeds the limit of one area.
  static void CheckSize(uint64_t bytes);

  // Bytes of all areas.
  static uint64_t BytesInUse();

 private:
  void Free();

  uint8_t *data_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace vsockenc
